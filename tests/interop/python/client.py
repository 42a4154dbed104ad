"""A program with the OpenTelemetry SDK. It makes spans of every kind, sends them, and prints what the SDK recorded.

Where to and how is the standard environment: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL,
OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES. Printed is what `tests/interop/recorded.py` describes.
"""

import base64
import json
import math
import os
import sys
import time

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

ATTRIBUTES = {
    "text": "plain",
    "text.empty": "",
    "text.long": "ten chars " * 4_000,
    "text.lines": "one\ntwo\ttab\\backslash \"quoted\" 'single'",
    "text.number": "42",
    "text.true": "true",
    "text.unicode": "Grüße, мир, 世界, שלום, e\u0301, 👩‍👩‍👧‍👦 🎉",
    "ключ": "a key in Cyrillic",
    "bool.true": True,
    "bool.false": False,
    "int": 42,
    "int.zero": 0,
    "int.largest": 2**63 - 1,
    "int.smallest": -(2**63),
    "double": 0.1,
    "double.whole": 3.0,
    "double.tiny": 5e-324,
    "double.huge": 1.7976931348623157e308,
    "double.nan": math.nan,
    "double.infinity": math.inf,
    "double.negative_infinity": -math.inf,
    "bytes": b"\x00\x01\xfe\xff",
    "texts": ["a", "", "ü"],
    "bools": [True, False],
    "ints": [1, -2, 2**62],
    "doubles": [0.5, 1e300, -0.25],
    "empty": [],
    "mixed": ["a", 1, 2.5, False, [1, ["deep"]]],
    "map": {"name": "Ada", "nested": {"list": [1, 2], "flag": True}},
}


def main() -> None:
    """Make three traces and print them."""
    recorded = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    provider.add_span_processor(SimpleSpanProcessor(recorded))
    shop, search = provider.get_tracer("shop", "1.2.3"), provider.get_tracer("search.client")

    earlier = refund(shop)
    checkout(provider, shop, search, earlier)
    served(shop)

    assert provider.force_flush(), "the exporter has given up"
    provider.shutdown()
    json.dump([as_json(span) for span in recorded.get_finished_spans()], sys.stdout)


def refund(tracer):
    """A trace whose root fails; returns its context."""
    try:
        with tracer.start_as_current_span("refund", kind=trace.SpanKind.CONSUMER) as span:
            raise LookupError("no such order: 7 €")
    except LookupError:
        return span.get_span_context()


def checkout(provider, shop, search, earlier) -> None:
    """A trace of three levels and two scopes, sent in several requests; one span ends after the root."""
    with shop.start_as_current_span("checkout", kind=trace.SpanKind.SERVER) as root:
        with shop.start_as_current_span("plan", attributes=ATTRIBUTES) as plan:
            with search.start_as_current_span("search", kind=trace.SpanKind.CLIENT) as found:
                found.add_event("empty")
                found.add_event("chosen", ATTRIBUTES, timestamp=time.time_ns() - 1)
            plan.set_status(trace.StatusCode.OK)
        provider.force_flush()
        charge(shop)
        links = [trace.Link(earlier, {"reason": "retry", "count": 3, "tags": ["a", "b"]})]
        links.append(trace.Link(plan.get_span_context()))
        with shop.start_as_current_span("notify", kind=trace.SpanKind.PRODUCER, links=links):
            pass
        after = shop.start_span("after the root")
        exact(shop)
        root.set_status(trace.StatusCode.OK)
    after.end()


def charge(tracer) -> None:
    """A span with an error that its parent handles, with the stack trace of an exception and of its cause."""
    with tracer.start_as_current_span("charge") as span:
        try:
            try:
                _fail()
            except ZeroDivisionError as cause:
                raise RuntimeError("card declined: 💳") from cause
        except RuntimeError as error:
            span.record_exception(error, {"attempt": 2})
            span.set_status(trace.StatusCode.ERROR, "declined")


def _fail() -> float:
    return 1 / 0


def exact(tracer) -> None:
    """A span whose times tell every nanosecond apart."""
    start = time.time_ns() // 1_000_000 * 1_000_000 - 5_000_000 + 1
    tracer.start_span("exact", start_time=start).end(end_time=start + 2_345_678)


def served(tracer) -> None:
    """The part of a trace whose root is in a program that sends nothing here."""
    headers = {"traceparent": f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01", "tracestate": "vendor=1,other=x"}
    caller = TraceContextTextMapPropagator().extract(headers)
    with tracer.start_as_current_span("served", caller, kind=trace.SpanKind.SERVER):
        tracer.start_span("inner").end()


def as_json(span) -> dict:
    """One ended span."""
    return {
        "trace_id": f"{span.context.trace_id:032x}",
        "span_id": f"{span.context.span_id:016x}",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "name": span.name,
        "kind": span.kind.name,
        "start": str(span.start_time),
        "end": str(span.end_time),
        "status": span.status.status_code.name,
        "message": span.status.description or "",
        "trace_state": span.context.trace_state.to_header(),
        "scope": [span.instrumentation_scope.name, span.instrumentation_scope.version or ""],
        "attributes": value_as_json(span.attributes),
        "events": [
            {"name": event.name, "time": str(event.timestamp), "attributes": value_as_json(event.attributes)}
            for event in span.events
        ],
        "links": [
            {
                "trace_id": f"{link.context.trace_id:032x}",
                "span_id": f"{link.context.span_id:016x}",
                "attributes": value_as_json(link.attributes),
            }
            for link in span.links
        ],
    }


def value_as_json(value):
    """A value as OTLP/JSON spells it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, (list, tuple)):
        return [value_as_json(item) for item in value]
    if hasattr(value, "items"):
        return {key: value_as_json(item) for key, item in value.items()}
    return value


if __name__ == "__main__":
    main()
