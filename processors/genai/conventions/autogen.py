"""AutoGen: agents and tools as OTel semconv without content (otel.py); messages of its runtime carry the content.

Source: spans of autogen-agentchat 0.7.5, tracer `autogen SingleThreadedAgentRuntime`.
"""

from __future__ import annotations

from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.messages import chat_messages
from spanbridge.processors.genai.convention import Convention, any_of
from spanbridge.processors.genai.values import as_object
from spanbridge.processors.genai.view import SpanView

_NO_MESSAGE = "No Message"


def _inputs(view: SpanView) -> Any:
    found = view.get("message")
    if found is None or found == _NO_MESSAGE:
        return None
    messages = chat_messages(as_object(found).get("messages"))
    return {"messages": messages} if messages else found


CONVENTION = Convention(
    name="autogen",
    namespaces=frozenset({"messaging"}),
    recognise=any_of("messaging.operation"),
    only_if=lambda view: view.span.name.startswith("autogen "),
    span_type=lambda _: types.TASK,
    inputs=_inputs,
)
