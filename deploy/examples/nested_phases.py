"""Work in nested phases, of which the last fails: every exception is on its span with its stack trace.

`start_as_current_span` records the exception that leaves it and marks the span as failed. One that the program handles,
as the first of the two tries, fails its own span and not the trace; one that reaches the first span fails the trace.
"""

import json
from contextlib import AbstractContextManager

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span

provider = TracerProvider(resource=Resource.create({"service.name": "nightly-report"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
tracer = provider.get_tracer("nested_phases")

WORKFLOW = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "nightly report"}


def report() -> None:
    """All phases."""
    with tracer.start_as_current_span("nightly report", attributes=WORKFLOW) as span:
        span.set_attribute("mlflow.spanInputs", json.dumps({"day": "2026-11-20"}))
        with phase("collect"):
            for source in ("orders", "returns"):
                with phase(f"read {source}") as reading:
                    reading.set_attribute("rows", 1200)
        with phase("summarise") as summarise:
            try:
                summarise_once(patience=30)
            except TimeoutError:
                summarise.add_event("try again", {"patience": 300})
                summarise_once(patience=300)
        with phase("publish"):
            raise ConnectionError("mail.example.com refused the connection")


def phase(name: str) -> AbstractContextManager[Span]:
    """A span for a phase."""
    return tracer.start_as_current_span(name, attributes={"mlflow.spanType": "TASK"})


def summarise_once(patience: int) -> None:
    """Try to summarise; it takes a while."""
    with phase("ask for a summary") as span:
        span.set_attribute("patience", patience)
        if patience < 60:
            raise TimeoutError(f"no answer within {patience} s")


try:
    report()
except ConnectionError as error:
    print(f"failed: {error}")
provider.shutdown()  # sends what is still here
