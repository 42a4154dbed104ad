"""`BatchSpanProcessor(MlflowSpanExporter(...))` in a program that uses the OpenTelemetry SDK."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from spanbridge.collector.exporters.mlflow import MlflowSpanExporter

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),  # at the import of mlflow
    pytest.mark.timeout(180),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'mlflow.db'}"


@pytest.fixture
def exporter(database: str) -> MlflowSpanExporter:
    return MlflowSpanExporter(tracking_uri=database, experiment="in process", environ={})


@pytest.fixture
def provider(exporter) -> Iterator[TracerProvider]:
    provider = TracerProvider(resource=Resource({"service.name": "program"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    yield provider
    provider.shutdown()


def traces(database, name):
    from mlflow import MlflowClient  # noqa: PLC0415  its import warns, which collection would take for an error

    client = MlflowClient(database)
    experiment = client.get_experiment_by_name("in process")
    return client.search_traces(locations=[experiment.experiment_id], filter_string=f"name = '{name}'")


def test_whole_traces_arrive(provider, database):
    tracer = provider.get_tracer("lib", "1")
    with tracer.start_as_current_span("first") as root:
        root.set_attribute("n", 1)
        with tracer.start_as_current_span("inner") as inner:
            inner.add_event("hello", {"k": "v"})
            inner.record_exception(ValueError("boom"))
            inner.set_status(otel.StatusCode.ERROR, "bad")
        provider.force_flush()  # the child has ended, its root has not: nothing may go out
    provider.force_flush()

    [found] = traces(database, "first")
    assert (found.info.state, found.info.tags["service.name"]) == ("OK", "program")
    by_name = {span.name: span for span in found.data.spans}
    assert by_name["first"].attributes.items() >= {"n": 1, "otel.scope.name": "lib"}.items()
    assert [event.name for event in by_name["inner"].events] == ["hello", "exception"]
    assert "ValueError: boom" in by_name["inner"].events[1].attributes["exception.stacktrace"]
    assert by_name["inner"].status.description == "bad"


def test_a_trace_whose_parent_is_elsewhere_is_finished(provider, database):
    remote = otel.SpanContext(int("1" * 32, 16), int("2" * 16, 16), is_remote=True, trace_flags=otel.TraceFlags(1))
    context = otel.set_span_in_context(otel.NonRecordingSpan(remote))
    with provider.get_tracer("lib").start_as_current_span("served", context):
        pass
    provider.force_flush()

    [found] = traces(database, "served")
    assert (found.info.state, found.info.trace_id) == ("OK", "tr-" + "1" * 32)


def test_what_is_open_at_the_end_is_sent(database, exporter):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("lib")
    root = tracer.start_span("never ended")
    tracer.start_span("orphan", otel.set_span_in_context(root)).end()
    assert exporter._buffer._held == 1
    provider.shutdown()

    [found] = traces(database, "orphan")
    assert found.info.state == "OK"


def test_a_late_child_joins_its_trace(provider, database):
    tracer = provider.get_tracer("lib")
    root = tracer.start_span("started")
    late = tracer.start_span("late", otel.set_span_in_context(root))
    root.set_status(otel.StatusCode.ERROR)
    root.end()
    provider.force_flush()
    late.end()
    provider.shutdown()

    [found] = traces(database, "started")
    assert (found.info.state, len(found.data.spans)) == ("ERROR", 2)
