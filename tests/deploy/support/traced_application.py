"""An application as the injection finds it: OpenTelemetry's SDK, told by variables where to send. Run as a process.

`python -m tests.deploy.support.traced_application COUNT` makes COUNT traces of an agent that calls a model, says so in
a line, and, with `--wait`, ends at SIGTERM, else at once: with spans still in the SDK's queue.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def exporter():
    """The one that OTEL_EXPORTER_OTLP_PROTOCOL names."""
    if os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    return OTLPSpanExporter()


def main(count: int, *, wait: bool) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter()))
    tracer = trace.get_tracer("application", tracer_provider=provider)
    for _ in range(count):
        with tracer.start_as_current_span("agent") as root, tracer.start_as_current_span("chat") as child:
            child.set_attribute("gen_ai.operation.name", "chat")
        print(f"{root.get_span_context().trace_id:032x}")
    sys.stdout.flush()
    if wait:
        stop.wait()
    provider.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), wait="--wait" in sys.argv)
