"""Gemini CLI: semconv keys with operation names and message shapes of its own.

Source: google-gemini/gemini-cli docs/cli/telemetry.md. Messages are Gemini's `{role, parts: [{text}]}`; an answer comes
as one content for each chunk of the stream.
"""

from __future__ import annotations

from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.answers import answer, choices
from spanbridge.processors.genai.content.messages import chat_messages
from spanbridge.processors.genai.convention import Convention, any_of, lookup
from spanbridge.processors.genai.values import decoded
from spanbridge.processors.genai.view import SpanView

_OPERATIONS = {
    "llm_call": types.LLM,
    "tool_call": types.TOOL,
    "agent_call": types.AGENT,
    "user_prompt": types.AGENT,
    "system_prompt": types.CHAIN,
    "schedule_tool_calls": types.CHAIN,
}
_AGENT = "gemini-cli"


def _inputs(view: SpanView) -> Any:
    operation = view.get("gen_ai.operation.name")
    found = view.decoded("gen_ai.input.messages")
    if found is None or operation in ("tool_call", "schedule_tool_calls"):
        return None if found is None else view.first("gen_ai.tool.call.arguments", "gen_ai.input.messages")
    messages = chat_messages(found)
    if operation == "system_prompt":
        messages = [{**message, "role": "system"} if message["role"] == "user" else message for message in messages]
    return {"messages": messages} if messages else None


def _outputs(view: SpanView) -> Any:
    if view.get("gen_ai.operation.name") == "tool_call":
        return view.first("gen_ai.tool.call.result", "gen_ai.output.messages")
    found = view.decoded("gen_ai.output.messages")
    if isinstance(found, str):
        return answer(found)
    contents = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    parts = [part for item in contents if isinstance(item.get("parts"), list) for part in item["parts"]]
    return choices([{"role": "model", "parts": _joined(parts)}]) if parts else None


def _joined(parts: list[Any]) -> list[Any]:
    """Return the parts with the texts of the stream's chunks put together again."""
    joined: list[Any] = []
    for part in map(decoded, parts):
        last = joined[-1] if joined else {}
        if _has_text(part) and _has_text(last) and part.get("thought") == last.get("thought"):
            joined[-1] = {**last, "text": last["text"] + part["text"]}
        else:
            joined.append(part)
    return joined


def _has_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


def _format(view: SpanView) -> str | None:
    """Return the format of what is written: MLflow would say `gemini`, whose chat view expects Gemini's own shape."""
    return "openai" if "gen_ai.input.messages" in view or "gen_ai.output.messages" in view else None


CONVENTION = Convention(
    name="gemini_cli",
    namespaces=frozenset({"gen_ai"}),
    recognise=any_of("gen_ai.agent.name"),
    only_if=lambda view: bool(view.get("gen_ai.agent.name") == _AGENT),
    span_type=lookup("gen_ai.operation.name", _OPERATIONS),
    inputs=_inputs,
    outputs=_outputs,
    message_format=_format,
)
