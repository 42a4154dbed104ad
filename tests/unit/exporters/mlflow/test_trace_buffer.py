"""Whole traces out of the spans of one process, and what becomes of those that can't be sent."""

from __future__ import annotations

import threading

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from spanbridge.collector.errors import Held, Permanent, Retryable
from spanbridge.collector.exporters.mlflow import MlflowSpanExporter
from spanbridge.collector.exporters.mlflow.trace_buffer import TraceBuffer
from spanbridge.processors.types import Batch, Trace, span_count
from tests.samples.mlflow_traces import add_span, new_trace, whole_trace


def parts(trace: Trace) -> list[Batch]:
    """Each span of a trace as a batch of its own."""
    result = []
    for resource_spans in trace.batch.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            batch = Batch()
            batch.resource_spans.add(resource=resource_spans.resource).scope_spans.append(scope_spans)
            result.append(batch)
    return result


def test_a_trace_goes_out_with_its_root():
    buffer, trace = TraceBuffer(), whole_trace()
    root, child = parts(trace)
    assert buffer.add(child) == []
    [released] = buffer.add(root)
    assert (released.trace_id, released.late, span_count(released.batch)) == (trace.trace_id, False, 2)
    assert buffer.flush() == []


def test_what_comes_after_is_late():
    buffer, trace = TraceBuffer(), whole_trace()
    root, child = parts(trace)
    buffer.add(root)
    assert buffer.add(child) == []
    [late] = buffer.flush()
    assert late.late


def test_a_remote_parent_counts_as_a_root():
    buffer, trace = TraceBuffer(), new_trace()
    add_span(trace, "served", b"elsewher", flags=0x300)
    assert len(buffer.add(trace.batch)) == 1
    trace = new_trace()
    add_span(trace, "local child", b"the-root", flags=0x100)
    assert buffer.add(trace.batch) == []


def test_beyond_its_bound_the_oldest_goes_out():
    buffer = TraceBuffer(capacity=2)
    open_traces = [new_trace() for _ in range(3)]
    released = []
    for trace in open_traces:
        add_span(trace, "child", b"the-root")
        released += buffer.add(trace.batch)
    assert [trace.trace_id for trace in released] == [open_traces[0].trace_id]


def test_spans_of_several_threads():
    buffer, traces = TraceBuffer(), [whole_trace() for _ in range(40)]
    released: list[Trace] = []

    def work(n):
        for trace in traces:
            released.extend(buffer.add(parts(trace)[n]))

    threads = [threading.Thread(target=work, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    released += buffer.flush()
    assert sum(span_count(trace.batch) for trace in released) == 80


class Destination:
    """Fails as told, then takes everything."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.written: list[list[str]] = []

    def write(self, route, records):
        if self.failures:
            raise self.failures.pop(0)
        self.written.append([record.name for record in records])

    def close(self):
        self.closed = True


@pytest.fixture
def exporter():
    exporter = MlflowSpanExporter("http://m", "e", timeout=5, environ={})
    exporter._destination.close()
    return exporter


def ended(*names):
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("lib")
    found = []
    for name in names:
        span = tracer.start_span(name)
        span.end()
        found.append(span)
    return found


def test_it_tries_again_within_its_timeout(exporter):
    exporter._destination = Destination(Retryable("busy", 0.01), Retryable("busy", 0.01))
    assert exporter.export(ended("a", "b")) is SpanExportResult.SUCCESS
    assert exporter._destination.written == [["a", "b"]]


@pytest.mark.parametrize("error", [Retryable("busy", 60), Held("401"), Permanent("bad")])
def test_it_gives_up(exporter, caplog, error):
    exporter._destination = Destination(error)
    assert exporter.export(ended("a")) is SpanExportResult.FAILURE
    assert f"1 traces are lost: {error}" in caplog.text


def test_a_refused_group_is_sent_trace_by_trace(exporter):
    exporter._destination = Destination(Permanent("one is bad"), Permanent("this one"))
    assert exporter.export(ended("a", "b", "c")) is SpanExportResult.FAILURE
    assert exporter._destination.written == [["b"], ["c"]]


def test_after_shutdown_nothing_is_taken(exporter):
    exporter._destination = Destination()
    exporter.shutdown()
    exporter.shutdown()
    assert exporter._destination.closed
    assert exporter.export(ended("a")) is SpanExportResult.FAILURE
