"""Messages and requests in any provider's shape, as MLflow reads them: `{"messages": [...]}`.

Answers are in answers.py. MLflow takes its previews from two shapes alone, this and that of answers.py
(mlflow.tracing.utils.truncation), and its chat view shows a list of messages only if every one of them is an OpenAI
chat message: a role of four, content that is a text (or, for inputs, a list of text, image_url and input_audio parts),
tool calls with text arguments (isRawModelTraceChatMessage in its UI). One reasoning part, blob or foreign role is
enough to lose the whole view, so each is given a form that shows.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from spanbridge.processors.genai.content.parts import Turn
from spanbridge.processors.genai.values import as_text, decoded, first, is_empty

Message: TypeAlias = dict[str, Any]

_ROLES = {
    "user": "user",
    "human": "user",
    "humanmessage": "user",
    "humanmessagechunk": "user",
    "usermessage": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "aimessage": "assistant",
    "aimessagechunk": "assistant",
    "assistantmessage": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
    "developer": "system",
    "systemmessage": "system",
    "tool": "tool",
    "function": "tool",
    "toolmessage": "tool",
    "functionmessage": "tool",
    "functionexecutionresultmessage": "tool",
}
# Tuples, not sets: what stands under `role` and `type` of somebody's JSON need not be hashable.
_SHOWN_ROLES = ("user", "assistant", "system", "tool")
_SHOWN_PARTS = ("text", "input_text", "output_text", "image_url", "input_audio")
_MESSAGE_KEYS = frozenset({"role", "content", "parts", "tool_calls", "kwargs", "data", "blocks", "source"})
_LANGCHAIN_TYPES = frozenset(_ROLES) - {"model", "bot", "developer"}
_RESPONSES_ITEMS = ("function_call", "function_call_output", "reasoning")


def chat_input(value: Any) -> Any:
    """Return a model's input in MLflow's chat shape.

    Args:
        value: An input in any shape, also as JSON text.

    Returns:
        `{"messages": [...]}`; the value itself where MLflow shows it as it is; None if it is no chat.
    """
    value = decoded(value)
    if isinstance(value, list):
        messages = chat_messages(value)
        return {"messages": messages} if messages else None
    if not isinstance(value, dict):
        return None
    key = next((key for key in _INPUT_KEYS if not is_empty(value.get(key))), None)
    if key is None:
        return None
    if key == "messages" and all_show(value[key]) and not any(value.get(name) for name in _SYSTEM_KEYS):
        return value
    return _rebuilt_input(value, key)


_INPUT_KEYS = ("messages", "contents", "input", "prompt", "prompts", "chat_history", "input_text", "inputText")
_SYSTEM_KEYS = ("system", "instructions", "system_instruction", "systemInstruction", "system_prompt")


def _rebuilt_input(value: dict[str, Any], key: str) -> Any:
    messages = chat_messages(value[key])
    if not messages:
        return None
    config = value.get("config")
    system = first(value, _SYSTEM_KEYS) or (first(config, _SYSTEM_KEYS) if isinstance(config, dict) else None)
    if not is_empty(system):
        messages = [*system_messages(system), *messages]
    rest = {name: item for name, item in value.items() if name != key and name not in _SYSTEM_KEYS}
    return {"messages": messages, **rest}


def system_messages(value: Any) -> list[Message]:
    """Return system instructions that stand apart (a text, parts, or a message) as a list of one system message."""
    value = decoded(value)
    if isinstance(value, dict) and "content" not in value and "parts" not in value:
        value = [value]
    if not isinstance(value, dict):
        value = {"content": value}
    turn = Turn.of(value)
    text = turn.text()
    return [{"role": "system", "content": text}] if text else []


def chat_messages(value: Any) -> list[Message]:
    """Return messages in any shape as OpenAI's chat messages; a bare text is one of the user.

    The list is empty when the value holds no messages.
    """
    value = decoded(value)
    if isinstance(value, str):
        return [{"role": "user", "content": value}] if value.strip() else []
    items = value if isinstance(value, list) else [value]
    if len(items) == 1 and isinstance(items[0], list):
        items = items[0]
    messages: list[Message] = []
    for item in map(decoded, items):
        if isinstance(item, str):
            messages.append({"role": "user", "content": item})
        elif isinstance(item, dict) and is_message(item):
            messages += shaped_message(item)
        elif isinstance(item, dict) and isinstance(item.get("text"), str):
            messages.append({"role": "user", "content": item["text"]})
        else:
            return []
    return messages


def is_message(item: Any) -> bool:
    """Return whether an object is a chat message, in whatever shape."""
    return isinstance(item, dict) and (
        not _MESSAGE_KEYS.isdisjoint(item) or item.get("type") in _RESPONSES_ITEMS or "tool_call_id" in item
    )


def shaped_message(item: Message) -> list[Message]:
    """Return one message as OpenAI's chat messages: tool results inside it become messages of their own."""
    if "content" in item and shows(item):
        return [item]
    if (plain := plain_text(item)) is not None:
        return [plain]
    message = _unwrapped(item)
    role = _role(message, item)
    turn = Turn.of(message)
    results = [{"role": "tool", "tool_call_id": result[0], "content": result[1]} for result in turn.results]
    if results and turn.is_bare():
        return results
    main = _main_message(message, role, turn)
    return [main, *results] if role == "assistant" else [*results, main]


def plain_text(item: Message) -> Message | None:
    """Return OTel's most common message, with a single part of text, in OpenAI's shape; None for any other.

    What it returns is what `shaped_message` would, in half the time.
    """
    parts, role = item.get("parts"), item.get("role")
    if not isinstance(parts, list) or len(parts) != 1 or role not in _SHOWN_ROLES or "name" in item:
        return None
    part = parts[0]
    if not isinstance(part, dict) or part.get("type") != "text" or role == "tool" or "tool_calls" in item:
        return None
    text = part.get("content")
    return {"role": role, "content": text} if isinstance(text, str) and text else None


def _main_message(message: Message, role: str, turn: Turn) -> Message:
    shaped: Message = {"role": role, "content": turn.content()}
    if turn.thoughts:
        shaped["reasoning"] = "\n\n".join(turn.thoughts)
    if turn.calls:
        shaped["tool_calls"] = turn.calls
    if role == "tool":
        shaped["tool_call_id"] = as_text(first(message, ("tool_call_id", "call_id", "id")))
        shaped["content"] = as_text(shaped["content"])
    # The name of a tool call that is an item of its own is the tool's, not the speaker's.
    if isinstance(name := message.get("name"), str) and name and message.get("type") not in _RESPONSES_ITEMS:
        shaped["name"] = name
    return shaped


def _unwrapped(item: Message) -> Message:
    """Return a message's fields, which LangChain's serialized messages keep under `kwargs` or `data`."""
    for wrapper in ("kwargs", "data"):
        if isinstance(item.get(wrapper), dict) and "role" not in item:
            return item[wrapper]  # type: ignore[no-any-return]
    return item


def _role(message: Message, item: Message) -> str:
    if item.get("type") in _RESPONSES_ITEMS:
        return "assistant"
    said = message.get("role")
    if isinstance(said, dict):
        said = said.get("value")
    if not isinstance(said, str):
        said = next((kind for kind in (message.get("type"), item.get("type"), _class_name(item)) if _known(kind)), None)
    if said is None and isinstance(source := message.get("source"), str):
        return "user" if source.lower() == "user" else "assistant"
    if not isinstance(said, str):
        return "tool" if "tool_call_id" in message else "assistant" if "tool_calls" in message else "user"
    return _ROLES.get(said.lower(), "assistant" if "assistant" in said.lower() else "user")


def _known(kind: Any) -> bool:
    return isinstance(kind, str) and kind.lower() in _LANGCHAIN_TYPES


def _class_name(item: Message) -> Any:
    path = item.get("id")
    return path[-1] if isinstance(path, list) and path else None


def all_show(messages: Any) -> bool:
    """Return whether a value is a list of messages that MLflow's chat view shows as they are."""
    return isinstance(messages, list) and bool(messages) and all(shows(message) for message in messages)


def shows(message: Any) -> bool:
    """Return whether MLflow's chat view shows the message as it is, and its preview finds role and content."""
    if not isinstance(message, dict) or message.get("role") not in _SHOWN_ROLES or "content" not in message:
        return False
    if message.get("function_call"):
        return False
    calls = message.get("tool_calls")
    if calls and not (isinstance(calls, list) and all(_callshows(call) for call in calls)):
        return False
    content = message["content"]
    return (
        content is None
        or isinstance(content, str)
        or (isinstance(content, list) and bool(content) and all(_partshows(part) for part in content))
    )


def _partshows(part: Any) -> bool:
    if not isinstance(part, dict) or part.get("type") not in _SHOWN_PARTS:
        return False
    if part["type"] in ("image_url", "input_audio"):
        return isinstance(part.get(part["type"]), dict)
    return isinstance(part.get("text"), str)


def _callshows(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    return (
        isinstance(function, dict)
        and isinstance(call.get("id"), str)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), str)
    )
