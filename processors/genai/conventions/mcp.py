"""Model Context Protocol: `mcp.*` on client and server spans.

Source: semantic-conventions-genai (mcp), opentelemetry-semantic-conventions-ai 0.5.1 (mcp.request.argument,
mcp.response.value).
"""

from __future__ import annotations

from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.convention import Convention, any_under, value
from spanbridge.processors.genai.values import as_object, decoded
from spanbridge.processors.genai.view import SpanView

_METHODS = {
    "tools/call": types.TOOL,
    "resources/read": types.RETRIEVER,
    "sampling/createmessage": types.LLM,
    "prompts/get": types.CHAIN,
}


def _span_type(view: SpanView) -> str | None:
    method = view.name("mcp.method.name", "mcp.method")
    return _METHODS.get(method.lower(), types.TASK) if method else None


def _inputs(view: SpanView) -> Any:
    flat = {key: decoded(item) for key, item in view.under("mcp.request.argument.").items()}
    stated = view.first("mcp.request.argument", "mcp.request.arguments", "mcp.tool.arguments")
    if stated is not None or flat:
        return as_object(stated).get("arguments") or stated or flat
    told = {"uri": view.get("mcp.resource.uri"), "prompt": view.get("gen_ai.prompt.name")}
    return {key: item for key, item in told.items() if item is not None} or None


CONVENTION = Convention(
    name="mcp",
    namespaces=frozenset({"mcp"}),
    recognise=any_under("mcp."),
    span_type=_span_type,
    inputs=_inputs,
    outputs=value("mcp.response.value", "mcp.tool.result"),
    originals=("mcp.request.argument", "mcp.request.argument.", "mcp.response.value"),
)
