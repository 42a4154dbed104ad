"""A trace's rows where they go beyond what MLflow's endpoint takes, and the traces that are left to MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.collector.exporters.mlflow.database.bulk.spans import COLUMNS
from spanbridge.collector.exporters.mlflow.database.bulk.tags import LocationTags
from spanbridge.collector.exporters.mlflow.database.bulk.traces import INFO_COLUMNS, Place, TraceDecoder, TraceRows
from spanbridge.collector.exporters.mlflow.database.bulk.values import Unfit
from spanbridge.processors.types import Batch, Trace
from tests.samples.raw_traces import raw_trace
from tests.samples.traces import span, trace

TRACE_ID = bytes(range(16))
ROOT, CHILD = b"root1234", b"child123"
PLACE = Place(7, LocationTags("/srv/artifacts/7"))
USAGE = json.dumps({"input_tokens": 10, "output_tokens": 2, "total_tokens": 12})


def decode(some: Trace, place: Place = PLACE) -> TraceRows:
    return TraceDecoder()(raw_trace(some), place)


def info(rows: TraceRows) -> dict[str, Any]:
    return dict(zip(INFO_COLUMNS, rows.info, strict=True))


def test_a_span_sent_twice_counts_once_and_as_it_came_last():
    some = trace(
        [
            span(TRACE_ID, ROOT, name="first", end_ms=50),
            span(TRACE_ID, CHILD, ROOT, {"mlflow.chat.tokenUsage": USAGE}),
            span(TRACE_ID, ROOT, name="again", end_ms=200),
            span(TRACE_ID, CHILD, ROOT, {"mlflow.chat.tokenUsage": USAGE}),
        ]
    )
    rows = decode(some)
    names = [dict(zip(COLUMNS, row, strict=True))["name"] for row in rows.spans]
    assert names == ["again", "span"]
    assert info(rows)["total_tokens"] == 12
    assert info(rows)["execution_time_ms"] == 200


def test_what_processors_gave_the_trace_is_written_with_it():
    some = trace([span(TRACE_ID, ROOT, values={"user.id": "alice", "mlflow.traceTag.team": "search"})])
    some.tags = {"team": "billing", "mlflow.traceName": "named", "bad@key": "x"}
    some.metadata = {"mlflow.sourceRun": "run", "mlflow.trace.session": "s-1", "mlflow.trace.user": "bob"}
    some.client_request_id = "request-1"
    rows = decode(some)
    assert {key: value for _, key, value in rows.tags} == {
        "mlflow.artifactLocation": f"/srv/artifacts/7/traces/tr-{TRACE_ID.hex()}/artifacts",
        "mlflow.trace.spansLocation": "TRACKING_STORE",
        "team": "billing",
    }
    assert {key: value for _, key, value in rows.metadata} == {"mlflow.sourceRun": "run", "mlflow.trace.user": "bob"}
    assert info(rows)["trace_name"] == "named"
    assert info(rows)["session_id"] == "s-1"
    assert info(rows)["client_request_id"] == "request-1"


def test_a_run_is_linked_to_traces_that_are_complete():
    place = Place(7, PLACE.location_tags, "the-run")
    complete = decode(trace([span(TRACE_ID, ROOT)]), place)
    assert [row[1:5] for row in complete.links] == [("trace", f"tr-{TRACE_ID.hex()}", "run", "the-run")]
    assert decode(trace([span(TRACE_ID, CHILD, ROOT)]), place).links == ()


def test_a_trace_without_a_root_has_the_state_it_is_given():
    part = trace([span(TRACE_ID, CHILD, ROOT)])
    place = Place(7, PLACE.location_tags, "the-run")
    new = raw_trace(part)
    assert info(TraceDecoder()(new, place))["status"] == "IN_PROGRESS"
    closed = TraceDecoder()(replace(new, state="ERROR", tags={"mlflow.traceName": "cut off"}), place)
    assert (info(closed)["status"], info(closed)["trace_name"]) == ("ERROR", "cut off")
    assert len(closed.links) == 1


def changed(**fields: Any) -> Callable[[], Trace]:
    def make() -> Trace:
        some = trace([span(TRACE_ID, ROOT)])
        some.batch.resource_spans[0].scope_spans[0].spans[0].MergeFrom(Span(**fields))
        return some

    return make


def with_values(**values: Any) -> Callable[[], Trace]:
    return lambda: trace(
        [span(TRACE_ID, ROOT, values={key.replace("__", "."): value for key, value in values.items()})]
    )


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Trace(TRACE_ID, Batch()), id="no span"),
        pytest.param(lambda: Trace(b"short", trace([span(TRACE_ID, ROOT)]).batch), id="short trace id"),
        pytest.param(changed(span_id=b"123456789"), id="long span id"),
        pytest.param(changed(parent_span_id=b"1"), id="short parent id"),
        pytest.param(changed(end_time_unix_nano=1 << 63), id="time beyond the column"),
        pytest.param(with_values(mlflow__spanType=7), id="type is a number"),
        pytest.param(with_values(mlflow__llm__cost="[1]"), id="cost is a list"),
        pytest.param(with_values(mlflow__llm__cost='{"total_cost": "much"}'), id="cost is a word"),
        pytest.param(with_values(mlflow__chat__tokenUsage='{"input_tokens": null}'), id="no token count"),
        pytest.param(
            with_values(
                mlflow__spanInputs=json.dumps(
                    {"messages": [{"role": "user", "content": [{"type": "text", "text": {"a": 1}}]}]}
                )
            ),
            id="preview is no text",
        ),
    ],
)
def test_unfit_traces(make: Callable[[], Trace]):
    with pytest.raises(Unfit):
        decode(make())
