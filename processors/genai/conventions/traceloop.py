"""OpenLLMetry (Traceloop): the SDK's decorators, and its instrumentations up to 0.4x with indexed keys.

Source: opentelemetry-semantic-conventions-ai 0.5.1. Current instrumentations write OTel semconv, read in otel.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.answers import choices
from spanbridge.processors.genai.content.messages import chat_messages
from spanbridge.processors.genai.content.parts import as_tool_calls
from spanbridge.processors.genai.content.tools import chat_tools
from spanbridge.processors.genai.convention import Convention, any_under, lookup, name
from spanbridge.processors.genai.view import SpanView, nested

_PREFIXES = ("traceloop.", "llm.request.", "llm.usage.", "gen_ai.prompt.", "gen_ai.completion.")
_KINDS = {
    "workflow": types.WORKFLOW,
    "task": types.TASK,
    "agent": types.AGENT,
    "tool": types.TOOL,
    "unknown": types.UNKNOWN,
}
_REQUESTS = {
    "chat": types.CHAT_MODEL,
    "completion": types.LLM,
    "embedding": types.EMBEDDING,
    "rerank": types.RERANKER,
}


def _message(row: Mapping[str, Any], role: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": row.get("role", role), "content": row.get("content")}
    calls = as_tool_calls(nested(dict(row), "tool_calls"))
    if calls:
        message["tool_calls"] = calls
    for key in ("tool_call_id", "name", "finish_reason", "reasoning"):
        if key in row:
            message[key] = row[key]
    return message


def _inputs(view: SpanView) -> Any:
    stated = view.get("traceloop.entity.input")
    rows = view.indexed("gen_ai.prompt")
    if stated is not None or not rows:
        return stated
    if view.get("llm.request.type") in ("embedding", "rerank"):
        return {"input": [row["content"] for row in rows if "content" in row]}
    messages = chat_messages([_message(row, "user") for row in rows])
    return {"messages": messages} if messages else None


def _outputs(view: SpanView) -> Any:
    stated = view.get("traceloop.entity.output")
    rows = view.indexed("gen_ai.completion")
    return choices([_message(row, "assistant") for row in rows]) if stated is None and rows else stated


def _tools(view: SpanView) -> Any:
    rows = view.indexed("llm.request.functions")
    return chat_tools(rows) if rows else chat_tools(view.get("llm.request.functions"))


def _tags(view: SpanView) -> Mapping[str, Any]:
    return view.under("traceloop.association.properties.")


CONVENTION = Convention(
    name="traceloop",
    namespaces=frozenset({"traceloop", "llm", "gen_ai"}),
    recognise=any_under(*_PREFIXES),
    span_type=(lookup("traceloop.span.kind", _KINDS), lookup("llm.request.type", _REQUESTS)),
    inputs=_inputs,
    outputs=_outputs,
    model=name("gen_ai.response.model", "gen_ai.request.model", "llm.response.model", "llm.request.model"),
    provider=name("gen_ai.provider.name", "gen_ai.system", "llm.vendor"),
    tools=_tools,
    tags=_tags,
    originals=(
        "traceloop.span.kind",
        "traceloop.entity.input",
        "traceloop.entity.output",
        "llm.request.type",
        "llm.request.functions.",
        "llm.usage.",
        "gen_ai.prompt.",
        "gen_ai.completion.",
    ),
)
