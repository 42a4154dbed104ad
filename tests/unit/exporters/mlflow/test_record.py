"""What MLflow is told of a trace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.collector.exporters.mlflow.record.amendment import Stored, amendment, assumed, is_needed, must_look
from spanbridge.collector.exporters.mlflow.record.record import Recorder, mend_times
from spanbridge.collector.exporters.mlflow.record.sanitize import MAX_TIME
from spanbridge.collector.exporters.mlflow.settings import RESOURCE_TAGS
from spanbridge.processors.attributes import as_dict, put
from spanbridge.processors.types import Trace, spans
from tests.samples.mlflow_traces import MS, add_span, new_trace, root_of, whole_trace

NOW = 1_800_000_000_000 * MS
record = Recorder(RESOURCE_TAGS)


def recorded(trace: Trace):
    found = record(trace, NOW)
    assert found is not None
    return found


def test_the_root_comes_first_and_names_the_trace():
    trace = new_trace()
    add_span(trace, "child", b"the-root", start_time_unix_nano=1 * MS, end_time_unix_nano=9 * MS)
    add_span(trace, "root", span_id=b"the-root", start_time_unix_nano=2 * MS, end_time_unix_nano=3 * MS).status.code = 2
    found = recorded(trace)
    assert [span.name for span in found.spans] == ["root", "child"]
    assert (found.name, found.state, found.has_root) == ("root", "ERROR", True)
    assert (found.start_ms, found.end_ms) == (1, 9)
    assert as_dict(found.spans[0].attributes)["mlflow.traceTag.mlflow.traceName"] == "root"


@pytest.mark.parametrize(
    ("tags", "attribute", "expected"),
    [
        ({"mlflow.traceName": "by processor"}, "by sender", "by processor"),
        ({}, "by sender", "by sender"),
        ({}, None, "root"),
        ({"mlflow.traceName": "n" * 5_000}, None, "n" * 4096),
    ],
)
def test_the_name_is_the_tag_or_the_roots(tags, attribute, expected):
    trace = new_trace(tags=tags)
    root = add_span(trace, "root")
    if attribute:
        put(root.attributes, "mlflow.traceTag.mlflow.traceName", attribute)
    found = recorded(trace)
    assert found.name == expected
    assert "mlflow.traceName" not in found.tags


def test_tags_of_the_resource_the_sender_and_the_processors():
    trace = new_trace(tags={"b": "processor", "mlflow.linkedPrompts": "[]", "mlflow.artifactLocation": "x"})
    resource = trace.batch.resource_spans[0].resource
    for key, value in {"host.name": "h", "deployment.x": 5, "service.version": None}.items():
        put(resource.attributes, key, value)
    root = add_span(trace, "root")
    for key, value in {"a": "sender", "b": "sender", "mlflow.trace.spansLocation": "x", "mlflow.user": "x"}.items():
        put(root.attributes, "mlflow.traceTag." + key, value)
    found = recorded(trace)
    assert found.tags == {
        "service.name": "shop",
        "deployment.x": "5",
        "a": "sender",
        "b": "processor",
        "mlflow.linkedPrompts": "[]",
    }
    assert as_dict(found.resource.attributes) == {
        "service.name": "shop", "deployment.x": "5", "a": "sender", "b": "processor",
    }  # fmt: skip
    assert as_dict(found.spans[0].attributes) == {
        "mlflow.traceTag.mlflow.traceName": "root", "mlflow.traceTag.mlflow.linkedPrompts": "[]",
    }  # fmt: skip


def test_no_globs_no_tags():
    found = Recorder(())(whole_trace(), NOW)
    assert found is not None
    assert found.tags == {}


def test_without_a_root_the_earliest_top_most_span_stands_in():
    trace = new_trace()
    add_span(trace, "below", b"top-span", start_time_unix_nano=1)
    add_span(trace, "top", b"elsewher", span_id=b"top-span", start_time_unix_nano=5)
    add_span(trace, "later top", b"elsewher", start_time_unix_nano=6).status.code = 2
    found = recorded(trace)
    assert (found.name, found.state, found.has_root) == ("top", "OK", False)
    assert "mlflow.traceTag.mlflow.traceName" not in as_dict(found.spans[0].attributes)


def test_a_circle_of_parents_has_a_head_too():
    trace = new_trace()
    add_span(trace, "a", b"bbbbbbbb", span_id=b"aaaaaaaa", start_time_unix_nano=2)
    add_span(trace, "b", b"aaaaaaaa", span_id=b"bbbbbbbb", start_time_unix_nano=1)
    assert recorded(trace).name == "b"


def test_ids():
    trace = new_trace()
    add_span(trace, "root", bytes(8), span_id=b"the-root")
    add_span(trace, "own parent", b"ownownow", span_id=b"ownownow")
    add_span(trace, "short parent", b"abc", span_id=b"shortpar")
    for fields in (
        {"span_id": b""},
        {"span_id": b"x" * 9},
        {"trace_id": b"x"},
        {"span_id": bytes(8)},
        {"trace_id": bytes(16)},
    ):
        add_span(trace, "bad", **fields)
    add_span(trace, "sent again", b"the-root", span_id=b"shortpar")
    found = recorded(trace)
    assert {span.name: span.parent_span_id for span in found.spans} == {
        "root": b"", "own parent": b"", "sent again": b"the-root",
    }  # fmt: skip


def test_a_trace_without_a_valid_span_is_no_record():
    trace = new_trace()
    add_span(trace, "bad", span_id=b"")
    assert record(trace, NOW) is None
    trace = whole_trace()
    trace.trace_id = bytes(16)
    assert record(trace, NOW) is None


def test_the_trace_is_left_as_it_was():
    trace = whole_trace(tags={"a": "b"})
    put(root_of(trace).attributes, "mlflow.experimentId", "1")
    before = trace.batch.SerializeToString()
    recorded(trace)
    assert trace.batch.SerializeToString() == before


def test_what_mlflow_drops_is_kept_as_attributes():
    trace = new_trace("home")
    root = add_span(
        trace, "root", scope=("lib", "1"), kind=3, trace_state="ot=th:8", attributes={"otel.scope.name": "own"}
    )
    put(trace.batch.resource_spans.add().resource.attributes, "service.name", "away")
    add_span(trace, "away", root.span_id, resource=1, kind=1)
    by_name = {span.name: as_dict(span.attributes) for span in recorded(trace).spans}
    del by_name["root"]["mlflow.traceTag.mlflow.traceName"]
    assert by_name["root"] == {
        "otel.scope.name": "own", "otel.scope.version": "1", "otel.trace_state": "ot=th:8", "span.kind": "client",
    }  # fmt: skip
    assert by_name["away"] == {"service.name": "away"}


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (10, 20, (10, 20)),
        (10, 10, (10, 10)),
        (10, 0, (10, 10)),
        (0, 20, (20, 20)),
        (0, 0, (5, 5)),  # the earliest time of the trace
        (20, 10, (20, 20)),
        (MAX_TIME + 1, 20, (20, 20)),
        (10, MAX_TIME + 1, (10, 10)),
        (MAX_TIME + 1, MAX_TIME + 2, (5, 5)),
    ],
)
def test_times(start, end, expected):
    span = Span(start_time_unix_nano=start, end_time_unix_nano=end)
    mend_times([span, Span(start_time_unix_nano=5, end_time_unix_nano=6)], NOW)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == expected


def test_a_trace_without_any_time_is_of_now():
    span = Span()
    mend_times([span], NOW)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (NOW, NOW)


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), min_size=1))
def test_times_can_always_be_stored(times):
    found = [Span(start_time_unix_nano=start, end_time_unix_nano=end) for start, end in times]
    mend_times(found, NOW)
    assert all(0 < s.start_time_unix_nano <= s.end_time_unix_nano <= MAX_TIME for s in found)


def test_what_a_processor_may_say():
    found = recorded(
        whole_trace(tags={"cut \ud83d": "\ud83d"}, metadata={"\ud83d": "\ud83d"}, client_request_id="\ud83d")
    )
    assert (found.tags["cut _"], found.metadata, found.client_request_id) == ("?", {"?": "?"}, "?")
    found = recorded(whole_trace(metadata={"k" * 300: "v" * 9_000, "n": "\0"}, client_request_id="r" * 60))
    assert found.metadata == {"k" * 250: "v" * 8_000, "n": "\ufffd"}
    assert found.client_request_id == "r" * 50


class TestAmendment:
    def part(self, *, root: bool, late: bool = False, error: bool = False, **fields):
        trace = new_trace(late=late, **fields)
        span = add_span(
            trace, "top", b"" if root else b"elsewher", start_time_unix_nano=10 * MS, end_time_unix_nano=30 * MS
        )
        span.status.code = 2 if error else 0
        return recorded(trace)

    def stored(self, state="IN_PROGRESS"):
        return Stored("1", state, 5, 10)

    def test_a_whole_trace_needs_none(self):
        assert not is_needed(self.part(root=True))

    def test_metadata_of_a_whole_trace_needs_no_look(self):
        found = self.part(root=True, metadata={"a": "b"}, error=True)
        assert is_needed(found)
        assert not must_look(found)
        update = amendment(found, assumed(found, "7"))
        assert update is not None
        assert (update.experiment_id, update.state, update.end_ms, update.metadata) == ("7", "ERROR", 30, {"a": "b"})

    def test_without_a_root_it_is_closed_and_named(self):
        update = amendment(self.part(root=False, error=True, tags={"mlflow.x": "1", "y": "2"}), self.stored())
        assert update is not None
        assert (update.state, update.tags) == ("ERROR", {"mlflow.traceName": "top", "mlflow.x": "1"})
        assert (update.start_ms, update.end_ms) == (5, 30)

    @pytest.mark.parametrize("late", [True, False])
    def test_a_straggler_leaves_a_finished_trace_alone(self, late):
        assert amendment(self.part(root=False, late=late, error=True), self.stored("OK")) is None

    def test_a_late_part_without_a_root_does_not_close(self):
        assert amendment(self.part(root=False, late=True), self.stored()) is None

    def test_a_late_root_sets_the_state(self):
        update = amendment(self.part(root=True, late=True, error=True), self.stored("OK"))
        assert update is not None
        assert (update.state, update.tags) == ("ERROR", {})
        assert amendment(self.part(root=True, late=True), self.stored("OK")) is None

    def test_late_metadata_keeps_the_state(self):
        update = amendment(self.part(root=False, late=True, metadata={"a": "b"}, error=True), self.stored("OK"))
        assert update is not None
        assert (update.state, update.metadata, update.tags) == ("OK", {"a": "b"}, {})


def test_every_span_is_in_the_record():
    trace = whole_trace()
    assert len(recorded(trace).spans) == len(list(spans(trace.batch)))
