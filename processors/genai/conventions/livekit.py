"""LiveKit Agents: `lk.*`, since 1.5 with content under `lk.pii.*`; model calls also state OTel semconv.

Source: livekit-agents 1.8.9, livekit/agents/telemetry/trace_types.py. The chat context is `{"items": [...]}`.
"""

from __future__ import annotations

from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.answers import choices
from spanbridge.processors.genai.content.messages import Message, chat_messages, system_messages
from spanbridge.processors.genai.content.parts import as_tool_calls
from spanbridge.processors.genai.convention import Convention, any_under
from spanbridge.processors.genai.conventions.otel import USAGE
from spanbridge.processors.genai.usage import Usage, usage_object
from spanbridge.processors.genai.values import as_object, decoded
from spanbridge.processors.genai.view import SpanView

_TYPE_BY_KEY = (
    ("lk.function_tool.name", types.TOOL),
    ("lk.function_tool.id", types.TOOL),
    ("lk.pii.function_tool.arguments", types.TOOL),
    ("lk.pii.chat_ctx", types.LLM),
    ("lk.chat_ctx", types.LLM),
    ("lk.retry_count", types.LLM),
    ("lk.pii.instructions", types.AGENT),
    ("lk.instructions", types.AGENT),
    ("lk.generation_id", types.AGENT),
    ("lk.agent_name", types.AGENT),
)


def _content(view: SpanView, name: str) -> Any:
    return view.first("lk.pii." + name, "lk." + name)


def _span_type(view: SpanView) -> str | None:
    if "gen_ai.operation.name" in view:
        return None
    return next((kind for key, kind in _TYPE_BY_KEY if key in view), types.UNKNOWN)


def _inputs(view: SpanView) -> Any:
    context = _content(view, "chat_ctx")
    if context is not None:
        items = decoded(context)
        messages = chat_messages(items.get("items") if isinstance(items, dict) else items)
        return {"messages": messages} if messages else context
    asked = _content(view, "user_input")
    if asked is not None:
        system = system_messages(_content(view, "instructions"))
        return {"messages": [*system, *chat_messages(asked)]} if system else asked
    found = (_content(view, key) for key in ("function_tool.arguments", "user_transcript", "input_text", "rpc.payload"))
    return next((value for value in found if value is not None), None)


def _outputs(view: SpanView) -> Any:
    text, calls = _content(view, "response.text"), _content(view, "response.function_calls")
    if calls is None:
        found = (text, _content(view, "function_tool.output"), _content(view, "rpc.response"))
        return next((value for value in found if value is not None), None)
    message: Message = {"role": "assistant", "content": text, "tool_calls": as_tool_calls(calls)}
    return choices([message])


def _usage(view: SpanView) -> Usage | None:
    return USAGE(view) or usage_object(as_object(view.get("lk.llm_metrics")))


CONVENTION = Convention(
    name="livekit",
    namespaces=frozenset({"lk"}),
    recognise=any_under("lk."),
    span_type=_span_type,
    inputs=_inputs,
    outputs=_outputs,
    usage=_usage,
    originals=(
        "lk.pii.chat_ctx",
        "lk.chat_ctx",
        "lk.pii.user_input",
        "lk.user_input",
        "lk.pii.response.",
        "lk.response.text",
        "lk.response.function_calls",
        "lk.pii.function_tool.",
    ),
)
