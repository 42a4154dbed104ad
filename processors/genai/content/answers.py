"""Answers in any provider's shape, as MLflow reads them: `{"choices": [{"message": ...}]}`; see messages.py."""

from __future__ import annotations

from typing import Any

from spanbridge.processors.genai.content.messages import (
    Message,
    all_show,
    chat_messages,
    is_message,
    plain_text,
    shaped_message,
    shows,
)
from spanbridge.processors.genai.content.parts import Turn
from spanbridge.processors.genai.values import decoded, first, is_empty


def chat_output(value: Any) -> Any:
    """Return a model's output in MLflow's chat shape.

    Args:
        value: An output in any shape, also as JSON text.

    Returns:
        `{"choices": [...]}`; `{"messages": [...]}` for a whole exchange; the value itself where MLflow shows it as it
        is; None if it is no chat. A bare text is no chat here: `answer` makes one of it.
    """
    value = decoded(value)
    if isinstance(value, list):
        return _output_list(value)
    if not isinstance(value, dict):
        return None
    for key, read in _OUTPUT_KEYS.items():
        if not is_empty(value.get(key)):
            return read(value, key)
    return choices([value]) if is_message(value) else None


def answer(text: str, finish_reason: Any = None) -> dict[str, Any]:
    """Return a text that a model answered in MLflow's chat shape, as `{"choices": [...]}`."""
    return {"choices": [_choice(0, {"role": "assistant", "content": text}, finish_reason)]}


def choices(items: list[Message]) -> dict[str, Any] | None:
    """Return output messages in MLflow's chat shape.

    Args:
        items: Messages in any shape.

    Returns:
        `{"choices": [...]}` if each is an answer of the assistant, else (an agent's whole exchange)
        `{"messages": [...]}`; None if there is nothing to show.
    """
    if len(items) == 1 and (text := _assistants_text(items[0])) is not None:
        return {"choices": [_choice(0, text, first(items[0], _REASONS))]}
    shaped = [message for item in items for message in shaped_message(item)]
    if not shaped:
        return None
    entries = _each_a_choice(shaped, items) if len(shaped) == len(items) else None
    return {"messages": shaped} if entries is None else {"choices": entries}


def _assistants_text(item: Message) -> Message | None:
    """Return the most common answer, a single part of text, as a message; None for any other.

    What follows in `choices` gives the same in twice the time.
    """
    return plain_text(item) if item.get("role") == "assistant" and "content" not in item else None


def _each_a_choice(shaped: list[Message], items: list[Message]) -> list[dict[str, Any]] | None:
    """Return each answer as a choice, or None if they are an exchange: several of which not each says why it ended."""
    entries: list[dict[str, Any]] = []
    for message, item in zip(shaped, items, strict=True):
        reason = first(item, _REASONS)
        if message["role"] != "assistant" or (len(items) > 1 and not reason):
            return None
        entries.append(_choice(len(entries), _plain(message), reason))
    return entries


def _choice(index: int, message: Message, finish_reason: Any) -> dict[str, Any]:
    choice = {"index": index, "message": message}
    return choice if finish_reason is None else {**choice, "finish_reason": finish_reason}


def _plain(message: Message) -> Message:
    """Return a message whose content is one text, as the chat view wants it within a choice."""
    content = message.get("content")
    is_text = content is None or isinstance(content, str)
    if is_text and _REASON_KEYS.isdisjoint(message):
        return message
    plain = {key: item for key, item in message.items() if key not in _REASON_KEYS}
    return plain if is_text else {**plain, "content": Turn.of({"content": content}).text()}


_REASONS = ("finish_reason", "finishReason", "stop_reason")
_REASON_KEYS = frozenset(_REASONS)


def _output_list(items: list[Any]) -> Any:
    items = items[0] if len(items) == 1 and isinstance(items[0], list) else items
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    if all("message" in item for item in items):
        return _from_choices({"choices": items}, "choices")
    return choices(items) if all(is_message(item) for item in items) else None


def _from_choices(value: dict[str, Any], key: str) -> Any:
    entries = value[key]
    if isinstance(entries, list) and len(entries) == 1 and isinstance(entries[0], list):
        entries = entries[0]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return None
    if key == "choices" and all(_choiceshows(entry) for entry in entries):
        return value
    shaped = []
    for index, entry in enumerate(entries):
        message = _entry_message(entry)
        if message is None:
            return None
        reason = first(entry, _REASONS)
        shaped.append(_choice(index, _plain(message), reason))
    return {"choices": shaped, **{name: item for name, item in value.items() if name != key}}


def _choiceshows(entry: Any) -> bool:
    message = entry.get("message") if isinstance(entry, dict) else None
    return isinstance(message, dict) and shows(message) and not isinstance(message["content"], list)


def _entry_message(entry: dict[str, Any]) -> Message | None:
    """Return the message of one choice, generation or candidate."""
    inner = first(entry, ("message", "delta", "content"))
    if isinstance(inner, dict):
        inner = inner if is_message(inner) else {"content": inner}
        shaped = shaped_message(inner if "role" in inner or "kwargs" in inner else {**inner, "role": "assistant"})
        return next((message for message in shaped if message["role"] == "assistant"), None)
    text = inner if isinstance(inner, str) else entry.get("text")
    return {"role": "assistant", "content": text} if isinstance(text, str) else None


def _from_messages(value: dict[str, Any], key: str) -> Any:
    if key == "messages" and all_show(value[key]):
        return value
    messages = chat_messages(value[key])
    return {**{name: item for name, item in value.items() if name != key}, "messages": messages} if messages else None


def _from_message(value: dict[str, Any], key: str) -> Any:
    message = decoded(value[key])
    return choices([{"role": "assistant", **message}]) if isinstance(message, dict) and is_message(message) else None


def _from_output(value: dict[str, Any], key: str) -> Any:
    """Read `output` of OpenAI's Responses API (a list of items, which MLflow reads itself), or of Bedrock Converse."""
    output = decoded(value[key])
    if isinstance(output, dict) and isinstance(output.get("message"), dict):
        return choices([{"finish_reason": value.get("stopReason"), **output["message"]}])
    items = output if isinstance(output, list) else []
    known = items and all(isinstance(item, dict) and item.get("type") for item in items)
    return value if known and any(item.get("type") == "message" for item in items) else None


def _from_content(value: dict[str, Any], key: str) -> Any:
    """Read a message itself, Anthropic's answer, or ADK's `{"content": {"parts": ...}}`."""
    content = decoded(value[key])
    if isinstance(content, (dict, list)) or "role" in value:
        inner = content if isinstance(content, dict) else {"content": content}
        reason = first(value, _REASONS)
        extra: Message = {name: value[name] for name in _BESIDE_CONTENT if name in value}
        role = inner.get("role") or value.get("role") or "assistant"
        return choices([{**inner, **extra, "role": role, "finish_reason": reason}])
    return choices([value]) if is_message(value) and "type" in value else None


_BESIDE_CONTENT = ("tool_calls", "name", "reasoning")
_OUTPUT_KEYS = {
    "choices": _from_choices,
    "generations": _from_choices,
    "candidates": _from_choices,
    "messages": _from_messages,
    "message": _from_message,
    "output": _from_output,
    "content": _from_content,
}
