"""Haystack: pipelines, components and agents under `haystack.*`, without gen_ai keys.

Source: haystack-ai 3.4.1 (core/pipeline, components/agents, tracing). Content needs HAYSTACK_CONTENT_TRACING_ENABLED.
"""

from __future__ import annotations

from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.answers import chat_output, choices
from spanbridge.processors.genai.content.documents import documents
from spanbridge.processors.genai.content.messages import chat_messages
from spanbridge.processors.genai.content.tools import chat_tools
from spanbridge.processors.genai.convention import Convention, any_under, shown_input
from spanbridge.processors.genai.usage import Usage, usage_object
from spanbridge.processors.genai.values import as_name, as_object, decoded, is_empty
from spanbridge.processors.genai.view import SpanView

_INPUTS = (
    "haystack.component.input",
    "haystack.agent.step.llm.input",
    "haystack.agent.step.tool.input",
    "haystack.agent.input",
    "haystack.pipeline.input_data",
)
_OUTPUTS = (
    "haystack.component.output",
    "haystack.agent.step.llm.output",
    "haystack.agent.step.tool.output",
    "haystack.agent.output",
    "haystack.pipeline.output_data",
)
_REPLIES = ("haystack.component.output", "haystack.agent.step.llm.output")
_COMPONENTS = (
    ("ChatGenerator", types.CHAT_MODEL),
    ("Generator", types.LLM),
    ("Embedder", types.EMBEDDING),
    ("Retriever", types.RETRIEVER),
    ("Ranker", types.RERANKER),
    ("Evaluator", types.EVALUATOR),
    ("ToolInvoker", types.TOOL),
    ("Agent", types.AGENT),
)
_TYPE_BY_NAME = {
    "haystack.agent.step.llm": types.CHAT_MODEL,
    "haystack.agent.step.tool": types.TOOL,
    "haystack.agent.step": types.CHAIN,
    "haystack.agent.hook": types.TASK,
    "haystack.agent.run": types.AGENT,
    "haystack.pipeline.run": types.WORKFLOW,
}
_TYPE_BY_KEY = (
    ("haystack.agent.step.llm.input", types.CHAT_MODEL),
    ("haystack.tool.name", types.TOOL),
    ("haystack.agent.max_steps", types.AGENT),
    ("haystack.pipeline.input_data", types.WORKFLOW),
)
_CONVERSATIONS = frozenset({*types.MODEL_CALLS, types.AGENT})


def _span_type(view: SpanView) -> str:
    component = view.name("haystack.component.type")
    if component:
        return next((kind for word, kind in _COMPONENTS if word in component), types.TASK)
    named = _TYPE_BY_NAME.get(view.span.name)
    return named or next((kind for key, kind in _TYPE_BY_KEY if key in view), types.CHAIN)


def _inputs(view: SpanView) -> Any:
    found = view.first(*_INPUTS)
    return shown_input(found) if _span_type(view) in _CONVERSATIONS else found


def _outputs(view: SpanView) -> Any:
    found, kind = view.first(*_OUTPUTS), _span_type(view)
    content = decoded(found)
    if not isinstance(content, dict):
        return found
    if kind in (types.RETRIEVER, types.RERANKER):
        return documents(content.get("documents")) or found
    return _answer(content) or found if kind in _CONVERSATIONS else found


def _answer(content: dict[str, Any]) -> Any:
    replies = decoded(content.get("replies"))
    if isinstance(replies, list) and replies:
        if all(isinstance(reply, str) for reply in replies):
            return choices([{"role": "assistant", "content": reply, "finish_reason": "stop"} for reply in replies])
        return choices([reply for reply in replies if isinstance(reply, dict)])
    if is_empty(content.get("messages")):
        return None
    return chat_output({"messages": chat_messages(content["messages"])})


def _reply_meta(view: SpanView) -> dict[str, Any]:
    """Return what the model's API stated about its answer: it is in the reply, or beside it with plain generators."""
    found = as_object(view.first(*_REPLIES))
    for listed in (found.get("replies"), found.get("meta")):
        head = as_object(listed[0]) if isinstance(listed, list) and listed else {}
        meta = as_object(head.get("meta") or head.get("_meta")) or head
        if "model" in meta or "usage" in meta:
            return meta
    return as_object(found.get("meta"))


def _usage(view: SpanView) -> Usage | None:
    return usage_object(_reply_meta(view).get("usage"))


def _tools(view: SpanView) -> Any:
    stated = as_object(view.first("haystack.component.input", "haystack.agent.step.llm.input")).get("tools")
    listed = [item.get("data", item) for item in stated if isinstance(item, dict)] if isinstance(stated, list) else None
    return chat_tools(listed) if listed else None


CONVENTION = Convention(
    name="haystack",
    namespaces=frozenset({"haystack"}),
    recognise=any_under("haystack."),
    span_type=_span_type,
    inputs=_inputs,
    outputs=_outputs,
    model=lambda view: as_name(_reply_meta(view).get("model")),
    usage=_usage,
    tools=_tools,
    originals=(*_INPUTS, *_OUTPUTS, "haystack.component.type"),
)
