"""Plain HTTP and RPC client spans: a TASK with method, target and status.

Source: OTel semantic conventions for HTTP and RPC, current and deprecated names. Servers and the application's own
spans are left alone: the spans below them show what they did.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.convention import Convention
from spanbridge.processors.genai.view import Layout, SpanView

_METHOD = ("http.request.method", "http.method", "rpc.method")
_TARGET = ("url.full", "http.url", "rpc.service", "server.address")
_STATUS = ("http.response.status_code", "http.status_code", "rpc.response.status_code", "rpc.grpc.status_code")
_GENAI = ("gen_ai.", "llm.", "openinference.", "ai.", "mcp.", "traceloop.", "langfuse.", "db.")


def _recognise(layout: Layout) -> bool:
    return any(key in layout.keys for key in _METHOD) and not any(key.startswith(_GENAI) for key in layout.keys)


def _inputs(view: SpanView) -> Any:
    told = {"method": view.first(*_METHOD), "target": view.first(*_TARGET)}
    return {key: item for key, item in told.items() if item is not None}


def _outputs(view: SpanView) -> Any:
    status = view.first(*_STATUS)
    return None if status is None else {"status": status}


CONVENTION = Convention(
    name="http",
    namespaces=frozenset({"http", "rpc"}),
    recognise=_recognise,
    only_if=lambda view: view.span.kind == Span.SPAN_KIND_CLIENT and bool(view.span.parent_span_id),
    span_type=lambda _: types.TASK,
    inputs=_inputs,
    outputs=_outputs,
)
