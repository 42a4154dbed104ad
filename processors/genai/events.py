"""GenAI content that comes as events: span events and log records, old and new names of the OTel semantic conventions.

Old (semconv <= 1.36): one event a message, `gen_ai.{system,user,assistant,tool}.message` and `gen_ai.choice`.
Older still: `gen_ai.content.prompt` and `gen_ai.content.completion`. New: `gen_ai.client.inference.operation.details`,
of which a span may have several that each hold a part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spanbridge.processors.genai.content.answers import answer, choices
from spanbridge.processors.genai.content.messages import Message, chat_input, chat_messages, system_messages
from spanbridge.processors.genai.content.parts import parts_in, result_text
from spanbridge.processors.genai.convention import Content, Event, shown_input, shown_output
from spanbridge.processors.genai.values import as_object, decoded, first, is_empty
from spanbridge.processors.genai.view import SpanView

DETAILS = "gen_ai.client.inference.operation.details"
_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_PROMPTS = {"gen_ai.content.prompt": "gen_ai.prompt", "gen_ai.prompt": "content"}
_COMPLETIONS = {"gen_ai.content.completion": "gen_ai.completion", "gen_ai.completion": "content"}
_NAMES = frozenset({*_ROLES, *_PROMPTS, *_COMPLETIONS, "gen_ai.choice", DETAILS})


@dataclass(slots=True)
class _Exchange:
    """The sum of the events of one span."""

    system: list[Message] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    choices: list[Message] = field(default_factory=list)
    prompt: Any = None
    completion: Any = None


def semconv_events(view: SpanView, events: Sequence[Event]) -> Content:
    """Return inputs and outputs from a span's events by OTel's conventions; of a tool, its arguments and result."""
    exchange = _Exchange()
    for name, fields in events:
        if name in _NAMES:
            _add(exchange, name, _fields(fields))
    if view.get("gen_ai.operation.name") == "execute_tool":
        return _tool_content(exchange)
    return _inputs(view, exchange), _outputs(exchange)


def _fields(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an event's fields; Azure and early Semantic Kernel put the whole message into one attribute as JSON."""
    packed = fields.get("gen_ai.event.content")
    return {**fields, **as_object(packed)} if packed is not None else fields


def _add(exchange: _Exchange, name: str, fields: Mapping[str, Any]) -> None:
    if name in _ROLES:
        exchange.messages.append(_message(_ROLES[name], fields))
    elif name == "gen_ai.choice":
        exchange.choices += _choice(fields)
    elif name == DETAILS:
        exchange.system += system_messages(fields.get("gen_ai.system_instructions"))
        exchange.messages += _listed(fields.get("gen_ai.input.messages"))
        exchange.choices += _listed(fields.get("gen_ai.output.messages"))
    elif name in _PROMPTS:
        exchange.prompt = first(fields, (_PROMPTS[name],))
    else:
        exchange.completion = first(fields, (_COMPLETIONS[name],))


def _listed(value: Any) -> list[Message]:
    value = decoded(value)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _message(role: str, fields: Mapping[str, Any]) -> Message:
    content = parts_in(fields.get("content"))
    said = content.get("role") if isinstance(content, dict) else None
    message: Message = {"role": said if isinstance(said, str) else role, "content": content}
    called = first(fields, ("id", "tool_call_id"))
    if role == "tool" and called is not None:
        message["tool_call_id"] = called
    if not is_empty(calls := decoded(fields.get("tool_calls"))):
        message["tool_calls"] = calls
    if isinstance(name := fields.get("name"), str):
        message["name"] = name
    return message


def _choice(fields: Mapping[str, Any]) -> list[Message]:
    inner = decoded(fields.get("message"))
    if isinstance(inner, dict):
        message = _message("assistant", inner)
    else:
        message = _message("assistant", {**fields, "content": fields.get("content") if inner is None else inner})
    if (reason := fields.get("finish_reason")) is not None:
        message["finish_reason"] = reason
    result = parts_in(fields.get("tool.result"))
    return [message] if is_empty(result) else [message, {"role": "tool", "content": result}]


def _tool_content(exchange: _Exchange) -> Content:
    arguments = next((message["content"] for message in exchange.messages if "content" in message), None)
    results = [message["content"] for message in exchange.choices if "content" in message]
    return arguments, (result_text(results[0]) if results else None)


def _inputs(view: SpanView, exchange: _Exchange) -> Any:
    if not exchange.messages:
        return _prompt(exchange.prompt)
    system = exchange.system or system_messages(view.get("gen_ai.system_instructions"))
    return chat_input([*system, *exchange.messages])


def _prompt(found: Any) -> Any:
    if not isinstance(found, str) or decoded(found) is not found:
        return shown_input(found)
    return {"messages": chat_messages(found)}


def _outputs(exchange: _Exchange) -> Any:
    if exchange.choices:
        return choices(exchange.choices)
    found = exchange.completion
    return answer(found) if isinstance(found, str) and decoded(found) is found else shown_output(found)
