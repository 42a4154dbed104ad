"""LangSmith's OTel export: whole inputs and outputs as JSON in `gen_ai.prompt` and `gen_ai.completion`.

Source: spans of langsmith 0.14.17 (LANGSMITH_OTEL_ENABLED). `langsmith.metadata.*` is handed down to every run below.
"""

from __future__ import annotations

from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.documents import documents
from spanbridge.processors.genai.content.tools import chat_tools
from spanbridge.processors.genai.convention import Convention, any_under, lookup, name, shown_input, shown_output
from spanbridge.processors.genai.conventions.otel import USAGE
from spanbridge.processors.genai.usage import Usage, usage_object
from spanbridge.processors.genai.values import as_object, decoded, is_empty
from spanbridge.processors.genai.view import SpanView

_KINDS = {
    "llm": types.CHAT_MODEL,
    "chain": types.CHAIN,
    "tool": types.TOOL,
    "retriever": types.RETRIEVER,
    "embedding": types.EMBEDDING,
    "prompt": types.CHAIN,
    "parser": types.PARSER,
    "agent": types.AGENT,
}
_FRAMEWORK_KEYS = ("langgraph_", "ls_", "lc_", "LANGSMITH_", "checkpoint_")
_NO_TAGS = frozenset({"usage_metadata", "revision_id"})
_STATED_PROVIDER = ("langsmith.metadata.ls_provider", "gen_ai.provider.name", "gen_ai.system")
_said_type = lookup("langsmith.span.kind", _KINDS)


def _span_type(view: SpanView) -> str | None:
    found = _said_type(view)
    operation = view.get("gen_ai.operation.name")
    return types.LLM if found == types.CHAT_MODEL and operation == "text_completion" else found


def _inputs(view: SpanView) -> Any:
    found = view.get("gen_ai.prompt")
    return found if view.get("langsmith.span.kind") == "tool" else shown_input(found)


def _outputs(view: SpanView) -> Any:
    kind, found = view.get("langsmith.span.kind"), view.get("gen_ai.completion")
    content = decoded(found)
    if isinstance(content, dict) and set(content) == {"output"}:
        found = content["output"]
    if kind == "retriever":
        return documents(found) or found
    return found if kind == "tool" else shown_output(found)


def _usage(view: SpanView) -> Usage | None:
    stated = usage_object(view.get("langsmith.metadata.usage_metadata"))
    if stated is None and "gen_ai.completion" in view and "gen_ai.usage.input_tokens" in view:
        stated = usage_object(as_object(view.get("gen_ai.completion")).get("usage_metadata"))
    return stated or USAGE(view)


def _provider(view: SpanView) -> str | None:
    """Return the provider; `gen_ai.system` says langchain wherever LangSmith does not know it."""
    stated = view.name(*_STATED_PROVIDER)
    return None if stated == "langchain" and _span_type(view) not in types.MODEL_CALLS else stated


def _tools(view: SpanView) -> Any:
    stated = view.get("gen_ai.tool.definitions")
    if stated is None:
        stated = as_object(view.get("langsmith.metadata.ls_invocation_params")).get("tools")
    if stated is None and view.get("langsmith.span.kind") == "llm":
        stated = as_object(view.get("gen_ai.prompt")).get("tools")
    return None if is_empty(stated) else chat_tools(stated)


def _tags(view: SpanView) -> dict[str, Any]:
    metadata = view.under("langsmith.metadata.")
    tags = {key: item for key, item in metadata.items() if not key.startswith(_FRAMEWORK_KEYS) and key not in _NO_TAGS}
    listed = view.get("langsmith.span.tags")
    if isinstance(listed, str):
        tags["tags"] = [part.strip() for part in listed.split(",") if part.strip()]
    return tags


CONVENTION = Convention(
    name="langsmith",
    namespaces=frozenset({"langsmith"}),
    recognise=any_under("langsmith."),
    span_type=_span_type,
    inputs=_inputs,
    outputs=_outputs,
    model=name("gen_ai.response.model", "gen_ai.request.model", "langsmith.metadata.ls_model_name"),
    provider=_provider,
    usage=_usage,
    tools=_tools,
    tags=_tags,
    inherited_tags=True,
    originals=("langsmith.span.kind", "gen_ai.prompt", "gen_ai.completion", "langsmith.metadata.usage_metadata"),
)
