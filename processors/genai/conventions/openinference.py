"""OpenInference (Arize Phoenix, LlamaIndex and many more).

Source: openinference-semantic-conventions 0.1.42. Lists are flattened into keys: `llm.input_messages.0.message.role`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.answers import answer, chat_output, choices
from spanbridge.processors.genai.content.documents import document
from spanbridge.processors.genai.content.messages import chat_input, chat_messages
from spanbridge.processors.genai.content.tools import chat_tools
from spanbridge.processors.genai.convention import (
    Convention,
    any_under,
    lookup,
    name,
    shown_input,
    shown_output,
)
from spanbridge.processors.genai.usage import CostKeys, UsageKeys
from spanbridge.processors.genai.values import as_name, as_object, decoded, is_empty
from spanbridge.processors.genai.view import SpanView, nested

_KINDS = {
    "llm": types.LLM,
    "chain": types.CHAIN,
    "tool": types.TOOL,
    "agent": types.AGENT,
    "retriever": types.RETRIEVER,
    "embedding": types.EMBEDDING,
    "reranker": types.RERANKER,
    "guardrail": types.GUARDRAIL,
    "evaluator": types.EVALUATOR,
    "prompt": types.CHAIN,
    "decision": types.CHAIN,
    "unknown": types.UNKNOWN,
}
_CONVERSATIONS = frozenset({"llm", "chain", "agent"})
_FRAMEWORK_KEYS = ("langgraph_", "ls_", "lc_", "LANGSMITH_", "checkpoint_", "__")
_OWN_KEYS = (
    "openinference.",
    "input.value",
    "output.value",
    "llm.input_messages.",
    "llm.output_messages.",
    "llm.token_count.",
    "llm.model_name",
    "llm.invocation_parameters",
    "llm.tools.",
    "llm.prompts.",
    "llm.cost.",
    "retrieval.documents.",
    "reranker.",
    "embedding.model_name",
    "embedding.embeddings.",
    "decision.",
    "tag.tags",
)


def _kind(view: SpanView) -> str:
    return (view.name("openinference.span.kind") or "").lower()


_said_type = lookup("openinference.span.kind", _KINDS)


def _span_type(view: SpanView) -> str | None:
    if "openinference.span.kind" in view:
        return _said_type(view)
    return types.LLM if "llm.model_name" in view else None


def _inputs(view: SpanView) -> Any:
    kind, found = _kind(view), view.get("input.value")
    if kind == "llm":
        return _llm_input(view, found)
    if found is not None:
        return shown_input(found) if kind in _CONVERSATIONS else found
    if kind == "reranker":
        return _reranker_input(view)
    if kind == "embedding":
        texts = [row["embedding.text"] for row in view.indexed("embedding.embeddings") if "embedding.text" in row]
        return {"input": texts} if texts else None
    if kind == "prompt":
        return _template(view)
    messages = _messages(view, "llm.input_messages")
    return {"messages": messages} if messages else view.get("tool.parameters")


def _llm_input(view: SpanView, found: Any) -> Any:
    content = decoded(found)
    shaped = chat_input(content) if isinstance(content, (dict, list)) else None
    if shaped is not None:
        return found if shaped is content else shaped
    messages = _messages(view, "llm.input_messages")
    if messages:
        return {"messages": messages}
    prompts = [row["prompt.text"] for row in view.indexed("llm.prompts") if "prompt.text" in row]
    return {"messages": chat_messages(prompts)} if prompts and found is None else found


def _reranker_input(view: SpanView) -> Any:
    given = {
        "query": view.get("reranker.query"),
        "top_k": view.get("reranker.top_k"),
        "documents": _documents(view, "reranker.input_documents"),
    }
    return {key: item for key, item in given.items() if item is not None} or None


def _template(view: SpanView) -> Any:
    told = view.under("llm.prompt_template.")
    return {key: decoded(item) for key, item in told.items()} or None


def _outputs(view: SpanView) -> Any:
    kind, found = _kind(view), view.get("output.value")
    listed = _documents(view, "retrieval.documents") or _documents(view, "reranker.output_documents")
    if listed and kind in ("retriever", "reranker"):
        return listed
    if kind == "llm":
        return _llm_output(view, found)
    if found is not None:
        return shown_output(found) if kind in _CONVERSATIONS else found
    scores = [dict(row) for row in view.indexed("evaluations")]
    return scores or listed or _answered(view)


def _llm_output(view: SpanView, found: Any) -> Any:
    content = decoded(found)
    shaped = chat_output(content) if isinstance(content, (dict, list)) else None
    if shaped is not None:
        return found if shaped is content else shaped
    answered = _answered(view)
    if answered is not None:
        return answered
    texts = [row["completion.text"] for row in view.indexed("llm.choices") if "completion.text" in row]
    return answer(texts[0]) if texts and found is None else found


def _answered(view: SpanView) -> Any:
    messages = _messages(view, "llm.output_messages")
    if not messages:
        return None
    reason = view.get("llm.finish_reason")
    return choices([{**messages[0], "finish_reason": reason}] if len(messages) == 1 and reason else messages)


def _messages(view: SpanView, prefix: str) -> list[dict[str, Any]]:
    rows = [_message(row) for row in view.indexed(prefix)]
    return chat_messages([row for row in rows if len(row) > 1])


def _message(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one flattened message; `message.contents` are its parts, `message.content` its text."""
    fields = {key.removeprefix("message."): item for key, item in row.items()}
    message: dict[str, Any] = {"role": fields.get("role", "assistant")}
    parts = [_part(part) for part in nested(fields, "contents")]
    content = parts or fields.get("content")
    if content is not None:
        message["content"] = content
    calls = [_call(call) for call in nested(fields, "tool_calls")]
    if calls:
        message["tool_calls"] = calls
        message.setdefault("content", None)
    elif "function_call_name" in fields:
        arguments = fields.get("function_call_arguments_json", "{}")
        message["function_call"] = {"name": fields["function_call_name"], "arguments": arguments}
    for key in ("tool_call_id", "name"):
        if key in fields:
            message[key] = fields[key]
    return message


def _part(row: Mapping[str, Any]) -> dict[str, Any]:
    fields = {key.removeprefix("message_content."): item for key, item in row.items()}
    url = fields.get("image.image.url") or fields.get("image.url")
    if url is not None:
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "text", **fields} if "text" in fields else dict(fields)


def _call(row: Mapping[str, Any]) -> dict[str, Any]:
    fields = {key.removeprefix("tool_call."): item for key, item in row.items()}
    function = {"name": fields.get("function.name", ""), "arguments": fields.get("function.arguments", "{}")}
    return {"id": fields.get("id") or function["name"], "type": "function", "function": function}


def _documents(view: SpanView, prefix: str) -> list[dict[str, Any]] | None:
    found = [document(row) for row in view.indexed(prefix)]
    return [item for item in found if item] or None


_stated_model = name(
    "llm.response.model_name",
    "llm.model_name",
    "llm.request.model_name",
    "embedding.model_name",
    "reranker.model_name",
    "decision.response.model_name",
    "decision.model_name",
    "decision.request.model_name",
)


def _model(view: SpanView) -> str | None:
    """Return the model; a call that failed names it only among the parameters of the request."""
    stated = _stated_model(view)
    if stated or _kind(view) not in ("llm", "embedding"):
        return stated
    for key in ("llm.invocation_parameters", "embedding.invocation_parameters", "input.value"):
        asked = as_object(view.get(key))
        if model := as_name(asked.get("model")) or as_name(asked.get("model_name")):
            return model
    return None


def _tools(view: SpanView) -> Any:
    listed = [row["tool.json_schema"] for row in view.indexed("llm.tools") if "tool.json_schema" in row]
    return chat_tools(listed) if listed else None


def _tags(view: SpanView) -> dict[str, Any]:
    metadata = as_object(view.get("metadata"))
    tags = {key: item for key, item in metadata.items() if not key.startswith(_FRAMEWORK_KEYS)}
    listed = view.get("tag.tags")
    return tags if is_empty(listed) else {**tags, "tags": listed}


CONVENTION = Convention(
    name="openinference",
    namespaces=frozenset(
        {"openinference", "llm", "input", "output", "retrieval", "reranker", "embedding", "decision", "tag"}
    ),
    recognise=any_under(*_OWN_KEYS),
    span_type=_span_type,
    inputs=_inputs,
    outputs=_outputs,
    model=_model,
    provider=name("llm.provider", "llm.system", "decision.provider", "decision.system"),
    usage=UsageKeys(
        input=("llm.token_count.prompt", "decision.token_count.input"),
        output=("llm.token_count.completion", "decision.token_count.output"),
        total=("llm.token_count.total",),
        cache_read=("llm.token_count.prompt_details.cache_read", "llm.token_count.prompt_details.cache_input"),
        cache_creation=("llm.token_count.prompt_details.cache_write",),
        reasoning=("llm.token_count.completion_details.reasoning",),
    ),
    cost=CostKeys(input=("llm.cost.prompt",), output=("llm.cost.completion",), total=("llm.cost.total",)),
    tools=_tools,
    tags=_tags,
    inherited_tags=True,
    originals=(
        "openinference.span.kind",
        "input.value",
        "input.mime_type",
        "output.value",
        "output.mime_type",
        "llm.input_messages.",
        "llm.output_messages.",
        "llm.tools.",
        "llm.token_count.",
        "llm.cost.",
        "llm.model_name",
        "llm.request.model_name",
        "llm.response.model_name",
        "llm.provider",
        "llm.system",
        "llm.prompts.",
        "llm.choices.",
        "embedding.model_name",
        "retrieval.documents.",
        "reranker.",
    ),
)
