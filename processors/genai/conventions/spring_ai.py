"""Spring AI: OTel semconv through Micrometer (numbers come as texts), and `spring.ai.*` for its own kinds.

Source: docs.spring.io/spring-ai/reference/observability. Content of model calls comes as span events (0.8 to 1.0-M8,
read in otel.py) or not at all; since 1.0 it goes to the application's log.
"""

from __future__ import annotations

from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.documents import documents
from spanbridge.processors.genai.content.messages import chat_messages, system_messages
from spanbridge.processors.genai.content.tools import named_tools
from spanbridge.processors.genai.convention import Convention, any_under, lookup, shown_input, value
from spanbridge.processors.genai.values import decoded
from spanbridge.processors.genai.view import SpanView

_KINDS = {
    "chat_client": types.CHAIN,
    "advisor": types.CHAIN,
    "chat_model": types.CHAT_MODEL,
    "embedding_model": types.EMBEDDING,
    "image_model": types.LLM,
    "tool_call": types.TOOL,
    "vector_store": types.RETRIEVER,
}
_QUERY = ("db.vector.query.content", "spring.ai.vector_store.query.content")
_TOOL_NAMES = (
    "spring.ai.model.request.tool.names",
    "spring.ai.chat.client.tool.names",
    "spring.ai.chat.client.tool.function.names",
)
_FOUND = ("db.vector.query.response.documents", "spring.ai.vector_store.query.response.documents")


def _inputs(view: SpanView) -> Any:
    query = view.first(*_QUERY)
    if query is not None:
        top_k = view.first("db.vector.query.top_k", "spring.ai.vector_store.query.top_k")
        return {"query": query} if top_k is None else {"query": query, "top_k": top_k}
    asked = view.get("spring.ai.chat.client.user.text")
    if asked is not None:
        return {"messages": [*system_messages(view.get("spring.ai.chat.client.system.text")), *chat_messages(asked)]}
    prompt = view.get("gen_ai.prompt")
    if isinstance(prompt, str) and decoded(prompt) is prompt:
        return {"messages": chat_messages(prompt)}
    return view.get("spring.ai.tool.call.arguments") if prompt is None else shown_input(prompt)


def _outputs(view: SpanView) -> Any:
    found = view.first(*_FOUND)
    return view.get("spring.ai.tool.call.result") if found is None else documents(found) or found


CONVENTION = Convention(
    name="spring_ai",
    namespaces=frozenset({"spring"}),
    recognise=any_under("spring.ai."),
    span_type=lookup("spring.ai.kind", _KINDS),
    inputs=_inputs,
    outputs=_outputs,
    tools=value(*_TOOL_NAMES, shape=named_tools),
    originals=("spring.ai.kind", "spring.ai.tool.call.", *_QUERY, *_FOUND),
)
