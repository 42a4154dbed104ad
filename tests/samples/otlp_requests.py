"""OTLP requests to send at a receiver, and a pipeline's end that takes them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.json_format import MessageToDict
from prometheus_client import CollectorRegistry

from spanbridge.collector.receivers.otlp import grpc_server as otlp_grpc
from spanbridge.collector.receivers.otlp import http_server as otlp_http
from spanbridge.collector.receivers.otlp.config import GrpcConfig, HttpConfig
from spanbridge.collector.receivers.otlp.intake import Receiver
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.attributes import put
from spanbridge.processors.types import Batch, Context, Logs, Request

GRPC_EXPORT = f"/{otlp_grpc.TRACES}/Export"
GRPC_EXPORT_LOGS = f"/{otlp_grpc.LOGS}/Export"


def batch(spans: int = 1, *, attributes: int = 3) -> Batch:
    """One request of spans with valid ids."""
    request = Batch()
    resource_spans = request.resource_spans.add()
    put(resource_spans.resource.attributes, "service.name", "checkout")
    scope_spans = resource_spans.scope_spans.add()
    for number in range(1, spans + 1):
        span = scope_spans.spans.add(
            trace_id=bytes([7] * 16),
            span_id=number.to_bytes(8, "big"),
            name=f"span {number}",
            start_time_unix_nano=1_700_000_000_000_000_000,
            end_time_unix_nano=1_700_000_001_000_000_000,
        )
        for index in range(attributes):
            put(span.attributes, f"gen_ai.attribute.{index}", f"a value of ordinary length {index}")
    return request


def logs(records: int = 1) -> Logs:
    """One request of log records."""
    request = Logs()
    scope_logs = request.resource_logs.add().scope_logs.add()
    for number in range(records):
        scope_logs.log_records.add(severity_text=f"{number}")
    return request


def as_json(request: Request) -> dict[str, Any]:
    """The OTLP/JSON form of a request, made from protobuf's own JSON mapping by the deviations of the specification."""
    return _deviate(MessageToDict(request, use_integers_for_enums=True))


def _deviate(value: Any) -> Any:
    if isinstance(value, list):
        return [_deviate(item) for item in value]
    if not isinstance(value, dict):
        return value
    ids = ("traceId", "spanId", "parentSpanId")
    return {k: base64.b64decode(v).hex() if k in ids else _deviate(v) for k, v in value.items()}


def varint(number: int) -> bytes:
    """A number in protobuf's wire format."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def message(*path: int, payload: bytes = b"") -> bytes:
    """A payload wrapped in length-delimited fields, the outermost first, in protobuf's wire format."""
    for number in reversed(path):
        payload = varint(number << 3 | 2) + varint(len(payload)) + payload
    return payload


SPANS = (1, 2)
"""Field numbers from the request to a ScopeSpans."""
SPAN_VALUE = (1, 2, 2, 9, 2)
"""Field numbers from the request to the value of a span's attribute."""


def nested_value(depth: int) -> bytes:
    """A request whose one attribute is arrays in arrays, `depth` of them."""
    return message(*SPAN_VALUE, *(5, 1) * depth)


@dataclass
class Sink:
    """An `Accept` that keeps what it gets, or raises what it is told to."""

    errors: list[Exception] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    contexts: list[Context] = field(default_factory=list)

    async def __call__(self, request: Request, context: Context) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.requests.append(request)
        self.contexts.append(context)


@dataclass
class Served:
    """A running receiver."""

    port: int
    sink: Sink
    telemetry: Telemetry

    def sample(self, name: str, transport: str, **labels: str) -> float:
        labels = {"receiver": "otlp", "transport": transport, **labels}
        return self.telemetry.registry.get_sample_value(f"{name}_total", labels) or 0.0

    def outcomes(self, transport: str) -> dict[str, float]:
        """Requests by outcome."""
        return {
            outcome: self.sample("otelcol_receiver_requests", transport, outcome=outcome)
            for outcome in ("success", "refused", "failure")
        }


@asynccontextmanager
async def serving(
    config: GrpcConfig | HttpConfig,
    *,
    sink: Sink | None = None,
    grace: float = 5.0,
    take_logs: bool = False,
    **receiver: Any,
):
    """A receiver on a free port."""
    sink = sink or Sink()
    telemetry = Telemetry(CollectorRegistry())
    made = Receiver("otlp", telemetry, sink, logs=sink if take_logs else None, **receiver)
    serve = otlp_grpc.serve if isinstance(config, GrpcConfig) else otlp_http.serve
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serve(config, made, grace=grace))
        yield Served(port, sink, telemetry)


async def eventually(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; fail when it does not within 10 s."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  it reads what has no event
            await asyncio.sleep(0.01)


def grpc_config(**keys: Any) -> GrpcConfig:
    return GrpcConfig.model_validate({"endpoint": "127.0.0.1:0", **keys})


def http_config(**keys: Any) -> HttpConfig:
    return HttpConfig.model_validate({"endpoint": "127.0.0.1:0", **keys})
