"""A trace as the exporter records it, in bulk and through MLflow's endpoint: the same rows, whatever the spans hold.

The endpoint gets cleaned copies. The bulk writer gets the spans themselves where there is nothing to clean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from spanbridge.collector.exporters.mlflow.database.bulk import NewTrace
from spanbridge.collector.exporters.mlflow.record.record import Recorder, TraceRecord
from spanbridge.collector.exporters.mlflow.record.sanitize import clean_already
from spanbridge.collector.exporters.mlflow.server.tracking_server import encode
from spanbridge.processors.genai import GenAi, GenAiConfig, GenAiTrace
from spanbridge.processors.tag_schema import TagSchema, TagSchemaConfig
from spanbridge.processors.types import Batch, Trace
from tests.integration.mlflow.bulk.stores import (  # noqa: F401  fixtures
    DatabasesOf,
    Pair,
    fixture_databases,
    fixture_pair,
    log_by_endpoint,
    split,
)
from tests.integration.mlflow.bulk.test_truth import SETS, captured
from tests.integration.mlflow.bulk.test_truth_generated import generated_traces
from tests.samples.traces import START_NS, bench_trace

record = Recorder(["*"])


def request(one: TraceRecord) -> Batch:
    """What a tracking server is sent of a record."""
    return Batch.FromString(encode([one]))


def write(pair: Pair, records: list[TraceRecord]) -> list[TraceRecord]:
    """Into both; returns what the bulk writer left."""
    for one in records:
        assert log_by_endpoint(pair.truth, request(one)) == 200
    fresh = [replace(one, _spans=[]) for one in records]  # as they are before anybody asks for copies
    left = pair.writer.write(map(NewTrace.of, fresh), "0")
    for index in left:
        assert log_by_endpoint(pair.ours, request(records[index])) == 200
    return [records[index] for index in left]


def normalized(traces: list[Trace]) -> list[TraceRecord]:
    head, stages = GenAi(GenAiConfig()), [GenAiTrace(GenAiConfig()), TagSchema(TagSchemaConfig(), {}, lambda *_: None)]
    found = []
    for trace in traces:
        head(trace.batch)
        for stage in stages:
            stage(trace)
        made = record(trace, START_NS)
        assert made is not None
        found.append(made)
    return found


def test_captures(pair: Pair):
    for name in SETS:
        for one in normalized(split(captured(name))):
            # The endpoint leaves a trace without a root open; the bulk writer ends and names it.
            assert write(pair, [one]) == [] or not one.has_root
            if one.has_root:
                pair.assert_equal([one.trace_id])


def test_the_bench_mix(pair: Pair):
    records = normalized([bench_trace(number) for number in range(30)])
    assert all(clean_already(span) is not None for one in records for span in one.sent)
    assert write(pair, records) == []
    pair.assert_equal()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"], name="lasting_pair")
def fixture_lasting_pair(request: pytest.FixtureRequest, databases_of: DatabasesOf) -> Iterator[Pair]:
    with databases_of(request.param).pair() as pair:
        yield pair


@given(
    trace=generated_traces(),
    tags=st.dictionaries(st.sampled_from(["team", "a b", "mlflow.user", "mlflow.traceName"]), st.text(max_size=5)),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_generated_trace(lasting_pair: Pair, trace: Trace, tags: dict[str, str]):
    trace.tags = tags
    before = trace.batch.SerializeToString()
    found = record(trace, START_NS)
    if found is None or not found.has_root:
        return
    left = write(lasting_pair, [found])
    event("handed back" if left else "in bulk")
    lasting_pair.assert_equal([trace.trace_id])
    assert trace.batch.SerializeToString() == before
