"""The question and the answer of a trace, set on a root that states none: MLflow takes previews from the root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.answers import answer
from spanbridge.processors.genai.content.parts import Turn
from spanbridge.processors.genai.head import set_text
from spanbridge.processors.genai.mlflow_attributes import INPUTS, OUTPUTS, SPAN_TYPE
from spanbridge.processors.genai.values import as_object, decoded
from spanbridge.processors.genai.view import SpanView

_FRAMES = frozenset({types.AGENT, types.CHAIN, types.WORKFLOW})


def write_previews(root: SpanView, ordered: Sequence[SpanView]) -> None:
    """Give the root the first question and the last answer of the model calls, each where it has none of its own.

    Without a model call that states any, an agent's or a chain's inputs and outputs serve.

    Args:
        root: The root span.
        ordered: All spans by start.
    """
    if INPUTS not in root and (found := _derived(root, ordered, INPUTS, question)) is not None:
        set_text(root, INPUTS, found)
    if OUTPUTS not in root and (found := _derived(root, ordered[::-1], OUTPUTS, final_answer)) is not None:
        set_text(root, OUTPUTS, found)


def _derived(root: SpanView, views: Sequence[SpanView], key: str, shape: Callable[[Any], Any]) -> Any:
    unshaped = framed = None
    for view in views:
        if view is root or key not in view:
            continue
        kind, said = view.name(SPAN_TYPE), view.get(key)
        if kind in types.MODEL_CALLS:
            if (found := shape(said)) is not None:
                return found
            unshaped = said if unshaped is None else unshaped
        elif kind in _FRAMES and framed is None:
            framed = said
    return framed if unshaped is None else unshaped


def question(inputs: Any) -> Any:
    """Return the user's last message in a call's inputs, in MLflow's chat shape; a bare text is returned as it is."""
    content = decoded(inputs)
    if content is None or isinstance(content, str):
        return content
    messages = content.get("messages") if isinstance(content, dict) else content
    text = _last(messages, "user")
    return {"messages": [{"role": "user", "content": text}]} if text else None


def final_answer(outputs: Any) -> Any:
    """Return the model's last message in a call's outputs, in MLflow's chat shape; a bare text is returned as it is."""
    content = decoded(outputs)
    if content is None or isinstance(content, str):
        return content
    text = _last(_output_messages(content), "assistant")
    return answer(text) if text else None


def _output_messages(content: Any) -> Any:
    """Return the messages of choices, of an exchange, or of the items of OpenAI's Responses API."""
    stated = as_object(content)
    choices = stated.get("choices")
    if isinstance(choices, list):
        return [choice.get("message") for choice in choices[:1] if isinstance(choice, dict)]
    return stated.get("messages") or stated.get("output") or content


def _last(messages: Any, role: str) -> str:
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == role and (text := Turn.of(message).text()):
            return text
    return ""
