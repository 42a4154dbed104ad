"""A trace that waits for delivery: what is decoded of it is what was serialized, here and in another process."""

from __future__ import annotations

import pickle

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.collector.exporters import SerializedTrace
from spanbridge.processors.types import Batch, Context, Logs, Trace, span_count
from tests.samples.mlflow_traces import add_span, new_trace, whole_trace


@given(st.booleans(), st.dictionaries(st.text(), st.text()), st.text(), st.lists(st.text(max_size=5), max_size=2))
def test_a_trace_is_decoded_as_it_was(late: bool, tags: dict[str, str], request_id: str, globs: list[str]) -> None:
    context = Context(experiment_name="e", tenant="t", allow_experiments=tuple(globs))
    trace = Trace(b"t" * 16, new_trace().batch, context, late, None, tags, dict(tags), request_id)
    serialized = SerializedTrace.of(trace)
    assert serialized.decode() == trace
    assert pickle.loads(pickle.dumps(serialized)) == serialized


def test_log_records_have_done_their_work() -> None:
    trace = whole_trace()
    trace.logs = Logs()
    assert SerializedTrace.of(trace).decode().logs is None


def test_what_is_decoded_is_one_s_own() -> None:
    serialized = SerializedTrace.of(whole_trace(tags={"team": "a"}))
    one = serialized.decode()
    one.batch.Clear()
    one.tags.clear()
    one.metadata["more"] = "said"
    again = serialized.decode()
    assert span_count(again.batch) == 2
    assert (again.tags, again.metadata) == ({"team": "a"}, {})


def deepest() -> Trace:
    """A trace with a value that is nested as deep as a request may be."""
    trace = new_trace()
    value = add_span(trace, "chat").attributes.add(key="k").value
    for _ in range(200):
        value.array_value.values.add()
        try:
            Batch.FromString(trace.batch.SerializeToString())
        except DecodeError:
            del value.array_value.values[:]
            return trace
        value = value.array_value.values[0]
    pytest.fail("protobuf has no limit any more")


def test_a_trace_as_deep_as_a_request_may_be_is_decoded() -> None:
    trace = deepest()
    assert SerializedTrace.of(trace).decode() == trace
