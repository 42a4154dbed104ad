"""The parts that a message's content is made of, whoever made them: text, reasoning, media, tool calls and results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from spanbridge.processors.genai.values import as_text, decoded, first, is_empty, to_json

_CALL_ID = ("id", "toolUseId", "tool_call_id", "toolCallId", "call_id", "tool_use_id")
_CALL_NAME = ("name", "toolName", "tool_name")
_CALL_ARGUMENTS = ("arguments", "input", "args", "parameters")
_RESULT_ID = ("tool_use_id", "toolUseId", "toolCallId", "tool_call_id", "call_id", "id")
_RESULT = ("response", "result", "output", "content", "value")


@dataclass(slots=True)
class Turn:
    """The sum of the parts of one message: its texts, media, tool calls, tool results and reasoning."""

    texts: list[str] = field(default_factory=list)
    media: list[dict[str, Any]] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    results: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, message: dict[str, Any]) -> Turn:
        """Return the turn that a message's content, tool calls and reasoning make, wherever its shape keeps them."""
        turn = cls()
        if isinstance(kind := message.get("type"), str) and kind in _PARTS and "role" not in message:
            turn.add(message)
            return turn
        turn.add_all(first(message, ("parts", "content", "blocks", "text")))
        extra = message.get("additional_kwargs")
        calls = message.get("tool_calls") or (extra.get("tool_calls") if isinstance(extra, dict) else None)
        if isinstance(calls, list):
            seen = {call["id"] for call in turn.calls}
            read = [tool_call(call) for call in calls if isinstance(call, dict)]
            turn.calls += [call for call in read if call["id"] not in seen]
        elif isinstance(legacy := message.get("function_call"), dict):
            turn.calls.append(tool_call(legacy))
        thought = first(message, ("reasoning_content", "reasoning", "thinking"))
        if isinstance(thought, str):
            turn.thoughts.append(thought)
        return turn

    def add_all(self, content: Any) -> None:
        """Add content: a text, one part, or a list of either."""
        content = parts_in(content)
        if isinstance(content, dict) and isinstance(content.get("parts"), list):
            content = content["parts"]
        for part in content if isinstance(content, list) else [content]:
            if isinstance(part, dict):
                self.add(part)
            elif part is not None:
                self.texts.append(as_text(part))

    def add(self, part: dict[str, Any]) -> None:
        """Add one part; a part of an unknown shape is added as JSON text rather than lost."""
        kind = part.get("type", part.get("block_type"))
        if not isinstance(kind, str) or kind not in _PARTS:
            kind = next((key for key in part if key in _PARTS and part[key] is not None), "")
        read = _PARTS.get(kind)
        if read is None:
            self.texts.append(to_json(part))
            return
        inner = part.get(kind)
        read(self, {**part, **inner} if isinstance(inner, dict) else part)

    def is_bare(self) -> bool:
        """Whether there is nothing but tool results."""
        return not (self.texts or self.media or self.calls or self.thoughts)

    def text(self) -> str:
        """Return all that can be shown as text; media are named by their kind."""
        shown = [f"[{part['type'].removesuffix('_url').removeprefix('input_')}]" for part in self.media]
        return "\n\n".join([text for text in self.texts if text] + shown)

    def content(self) -> str | list[dict[str, Any]] | None:
        """Return the content of an OpenAI chat message: one text, or a list of parts if there is an image or sound."""
        if self.media:
            return [{"type": "text", "text": text} for text in self.texts if text] + self.media
        text = self.text()
        return None if not text and self.calls else text


def parts_in(content: Any) -> Any:
    """Return content that is itself JSON of a list of parts as that list (Strands writes events so), else unchanged."""
    if not isinstance(content, str) or content[:1] != "[":
        return content
    value = decoded(content)
    is_parts = isinstance(value, list) and value and all(isinstance(part, dict) and _is_part(part) for part in value)
    return value if is_parts else content


def _is_part(part: dict[str, Any]) -> bool:
    kind = part.get("type")
    return kind in _PARTS if isinstance(kind, str) else any(key in _PARTS for key in part)


def tool_call(call: dict[str, Any]) -> dict[str, Any]:
    """Return a tool call in OpenAI's shape, whose arguments are JSON text."""
    function = call.get("function")
    inner = {**call, **function} if isinstance(function, dict) else call
    name = as_text(first(inner, _CALL_NAME) or (function if isinstance(function, str) else None))
    arguments = next((inner[key] for key in _CALL_ARGUMENTS if inner.get(key) is not None), None)
    text = arguments if isinstance(arguments, str) else to_json({} if arguments is None else arguments)
    called = as_text(first(inner, _CALL_ID)) or name
    return {"id": called, "type": "function", "function": {"name": name, "arguments": text}}


def as_tool_calls(value: Any) -> list[dict[str, Any]]:
    """Return a list of tool calls, in whatever shape, in OpenAI's."""
    items = decoded(value)
    return [tool_call(item) for item in (items if isinstance(items, list) else [items]) if isinstance(item, dict)]


def result_text(value: Any) -> str:
    """Return what a tool gave back as text: the texts of its parts where it is made of parts."""
    value = decoded(value) if isinstance(value, str) and value[:2] in ("[{", '{"') and '"text"' in value else value
    if isinstance(value, dict) and isinstance(value.get("type"), str) and "value" in value:
        value = value["value"]
    if isinstance(value, dict) and set(value) == {"content"}:
        value = value["content"]
    if isinstance(value, list) and value and all(isinstance(part, dict) and _is_text(part) for part in value):
        return "\n\n".join(as_text(part.get("text", part.get("json"))) for part in value)
    return as_text(value)


def _is_text(part: dict[str, Any]) -> bool:
    return part.get("type") in (None, "text", "input_text", "output_text") and ("text" in part or set(part) == {"json"})


def _text(turn: Turn, part: dict[str, Any]) -> None:
    text = as_text(first(part, ("text", "content", "refusal", "value")))
    if part.get("thought") is True:
        turn.thoughts.append(text)
    elif text:
        turn.texts.append(text)


def _thought(turn: Turn, part: dict[str, Any]) -> None:
    said = first(part, ("content", "text", "thinking", "reasoning_text", "reasoningText", "summary", "reasoning"))
    said = said.get("text") if isinstance(said, dict) else said
    if isinstance(said, list):
        said = "\n\n".join(as_text(item.get("text")) for item in said if isinstance(item, dict))
    if not is_empty(said):
        turn.thoughts.append(as_text(said))


def _call(turn: Turn, part: dict[str, Any]) -> None:
    turn.calls.append(tool_call(part))


def _result(turn: Turn, part: dict[str, Any]) -> None:
    origin = part.get("origin")
    called = first(part, _RESULT_ID) or (origin.get("id") if isinstance(origin, dict) else None) or part.get("name")
    value = next((part[key] for key in _RESULT if part.get(key) is not None), None)
    turn.results.append((as_text(called), result_text(value)))


def _image(turn: Turn, part: dict[str, Any]) -> None:
    source = first(part, ("image_url", "url", "image", "source", "data"))
    kind = as_text(first(part, ("mediaType", "media_type", "mimeType", "mime_type"))) or "image/png"
    if isinstance(source, dict):
        kind = as_text(first(source, ("media_type", "mime_type"))) or kind
        source = first(source, ("url", "uri", "data", "bytes"))
    if not isinstance(source, str):
        turn.texts.append("[image]")
        return
    url = source if ":" in source[:64] else f"data:{kind};base64,{source}"
    turn.media.append({"type": "image_url", "image_url": {"url": url}})


def _blob(turn: Turn, part: dict[str, Any]) -> None:
    """Return inline bytes or a file: an image is shown, anything else is named."""
    kind = as_text(first(part, ("mime_type", "mimeType", "mediaType", "media_type", "modality")))
    source = first(part, ("content", "data", "uri", "file_uri", "fileUri", "url", "file_id"))
    if kind.startswith("image") and isinstance(source, str):
        _image(turn, {"url": source, "mime_type": kind if "/" in kind else "image/png"})
        return
    name = as_text(first(part, ("filename", "name", "uri", "file_uri", "fileUri", "url", "file_id")))
    label = " ".join(word for word in (kind, name) if word)
    turn.texts.append(f"[file {label}]" if label else "[file]")


def _audio(turn: Turn, part: dict[str, Any]) -> None:
    data, sound = first(part, ("data",)), part.get("format")
    if isinstance(data, str) and sound in ("wav", "mp3"):
        turn.media.append({"type": "input_audio", "input_audio": {"data": data, "format": sound}})
    else:
        turn.texts.append("[audio]")


def _json(turn: Turn, part: dict[str, Any]) -> None:
    turn.texts.append(as_text(first(part, ("json", "data", "code", "output"))))


_PARTS: dict[str, Callable[[Turn, dict[str, Any]], None]] = {
    # OTel semconv, OpenAI
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "refusal": _text,
    "reasoning": _thought,
    "tool_call": _call,
    "tool_call_response": _result,
    "function_call": _call,
    "function_call_output": _result,
    "image_url": _image,
    "input_image": _image,
    "input_audio": _audio,
    "blob": _blob,
    "file": _blob,
    "uri": _blob,
    "input_file": _blob,
    # Anthropic
    "thinking": _thought,
    "redacted_thinking": _thought,
    "tool_use": _call,
    "server_tool_use": _call,
    "tool_result": _result,
    "image": _image,
    "document": _blob,
    # Bedrock Converse, Strands
    "toolUse": _call,
    "toolResult": _result,
    "reasoningContent": _thought,
    "json": _json,
    # Gemini
    "function_response": _result,
    "functionCall": _call,
    "functionResponse": _result,
    "inline_data": _blob,
    "inlineData": _blob,
    "file_data": _blob,
    "fileData": _blob,
    "executable_code": _json,
    "executableCode": _json,
    "code_execution_result": _json,
    "codeExecutionResult": _json,
    # Vercel AI SDK
    "tool-call": _call,
    "tool-result": _result,
    # Haystack
    "tool_call_result": _result,
}
