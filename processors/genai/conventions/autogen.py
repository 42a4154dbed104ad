"""AutoGen: agents and tools as OTel semconv without content (otel.py); its runtime's messages carry what was said.

Source: spans of autogen-agentchat 0.7.5, tracer `autogen SingleThreadedAgentRuntime`.
"""

from __future__ import annotations

from typing import Any

from processors.genai import span_types as types
from processors.genai.convention import Convention
from processors.genai.messages import chat_messages
from processors.genai.values import as_object
from processors.genai.view import SpanView

_NO_MESSAGE = "No Message"


def _recognise(view: SpanView) -> bool:
    return view.span.name.startswith("autogen ") and "messaging.operation" in view.raw


def _inputs(view: SpanView) -> Any:
    found = view.get("message")
    if found is None or found == _NO_MESSAGE:
        return None
    messages = chat_messages(as_object(found).get("messages"))
    return {"messages": messages} if messages else found


CONVENTION = Convention(
    name="autogen",
    namespaces=frozenset({"messaging"}),
    recognise=_recognise,
    span_type=lambda _: types.TASK,
    inputs=_inputs,
)
