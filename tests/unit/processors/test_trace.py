"""A trace that waits for delivery, as bytes."""

from __future__ import annotations

from spanbridge.processors.types import Batch, Trace, span_count
from tests.samples.mlflow_traces import whole_trace


def test_a_sealed_trace_tells_what_it_told_before() -> None:
    trace = whole_trace(tags={"team": "a"})
    before = Batch.FromString(trace.serialized)
    trace.seal()
    assert trace.batch == before
    assert trace.serialized == before.SerializeToString()
    assert trace.root is not None
    assert trace.root.name == "checkout"
    assert trace.tags == {"team": "a"}


def test_to_seal_twice_is_to_seal_once() -> None:
    trace = whole_trace()
    trace.seal()
    serialized = trace.serialized
    trace.seal()
    assert trace.serialized is serialized


def test_what_a_sealed_trace_gives_is_a_copy() -> None:
    trace = whole_trace()
    trace.seal()
    trace.batch.Clear()
    assert span_count(trace.batch) == 2


def test_a_sealed_trace_can_be_given_other_spans() -> None:
    trace = Trace(bytes(16), Batch())
    trace.seal()
    trace.batch = whole_trace().batch
    assert span_count(trace.batch) == 2
