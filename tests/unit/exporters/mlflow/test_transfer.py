"""Traces on their way to a writer: what arrives is what was sent."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.collector.exporters.mlflow.database.transfer import read, written
from spanbridge.processors.types import Batch, Context, Trace
from tests.samples.mlflow_traces import add_span, new_trace, whole_trace


@given(st.booleans(), st.dictionaries(st.text(), st.text()), st.text(), st.lists(st.text(max_size=5), max_size=2))
def test_traces_arrive_as_they_were(late: bool, tags: dict[str, str], request_id: str, globs: list[str]) -> None:
    context = Context(experiment_name="e", tenant="t", allow_experiments=tuple(globs))
    trace = Trace(b"t" * 16, new_trace().batch, context, late, None, tags, dict(tags), request_id)
    assert read(written([trace, trace])) == [trace, trace]


def test_sealed_traces_arrive() -> None:
    traces = [whole_trace(), whole_trace()]
    sent = read(written(traces))
    for trace in traces:
        trace.seal()
    assert read(written(traces)) == sent


def test_nothing_arrives_as_nothing() -> None:
    assert read(written([])) == []


def deepest() -> Trace:
    """A trace with a value that is nested as deep as a request may be."""
    trace = new_trace()
    value = add_span(trace, "chat").attributes.add(key="k").value
    for _ in range(200):
        value.array_value.values.add()
        try:
            Batch.FromString(trace.serialized)
        except DecodeError:
            del value.array_value.values[:]
            return trace
        value = value.array_value.values[0]
    pytest.fail("protobuf has no limit any more")


def test_a_trace_as_deep_as_a_request_may_be_arrives_with_the_others() -> None:
    traces = [whole_trace(), deepest(), whole_trace()]
    assert Batch.FromString(traces[1].serialized) == traces[1].batch
    assert read(written(traces)) == traces
