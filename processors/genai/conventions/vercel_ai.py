"""Vercel AI SDK v4 to v6, and v7 with its legacy integration: `ai.*`. What v7 writes by default is OTel semconv.

Source: spans of npm ai 6.0.326 and 7.0.173. A call has an outer span (`ai.generateText`) with the usage of all its
steps, and an inner one for each request to the model (`ai.generateText.doGenerate`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.answers import choices
from spanbridge.processors.genai.content.messages import Message
from spanbridge.processors.genai.content.parts import as_tool_calls
from spanbridge.processors.genai.content.tools import chat_tools
from spanbridge.processors.genai.convention import Convention, any_under, name, shown_input, value
from spanbridge.processors.genai.usage import UsageKeys
from spanbridge.processors.genai.values import decoded
from spanbridge.processors.genai.view import SpanView

_TYPE_BY_WORD = (
    ("toolcall", types.TOOL),
    ("embed", types.EMBEDDING),
    ("rerank", types.RERANKER),
)
_PROVIDER_KINDS = frozenset(
    {
        "chat",
        "completion",
        "embedding",
        "generative-ai",
        "image",
        "messages",
        "responses",
        "speech",
        "textEmbedding",
        "transcription",
    }
)


def _operation(view: SpanView) -> str:
    return view.name("ai.operationId") or ""


def _span_type(view: SpanView) -> str | None:
    operation = _operation(view).lower()
    if not operation:
        return types.TOOL if "ai.toolCall.name" in view else None
    return next((kind for word, kind in _TYPE_BY_WORD if word in operation), types.LLM)


def _inputs(view: SpanView) -> Any:
    found = view.first("ai.prompt.messages", "ai.prompt")
    if found is not None:
        return shown_input(found)
    return view.first("ai.toolCall.args") or _each_decoded(view, "ai.values", "ai.value", "ai.documents")


def _outputs(view: SpanView) -> Any:
    result = view.first("ai.toolCall.result", "ai.response.object")
    if result is not None:
        return result
    message = _answer(view)
    if message is None:
        return _each_decoded(view, "ai.embeddings", "ai.embedding", "ai.ranking")
    is_request = ".do" in _operation(view)
    # The outer span's plain text makes the better preview; the inner one's message keeps the tool calls.
    return choices([message]) if is_request or not message["content"] else message["content"]


def _answer(view: SpanView) -> Message | None:
    """Return the model's message: text, tool calls and reasoning.

    Streams of v4 and v5 wrote the text as `ai.result.*`.
    """
    text = view.first("ai.response.text", "ai.result.text")
    calls = view.first("ai.response.toolCalls", "ai.result.toolCalls")
    if text is None and calls is None:
        return None
    message: Message = {"role": "assistant", "content": text}
    if calls is not None:
        message["tool_calls"] = as_tool_calls(calls)
    if isinstance(thought := view.get("ai.response.reasoning"), str):
        message["reasoning"] = thought
    if (reason := view.get("ai.response.finishReason")) is not None:
        message["finish_reason"] = reason
    return message


def _each_decoded(view: SpanView, *keys: str) -> Any:
    """Return a list of JSON texts decoded, as the SDK writes values and embeddings."""
    found = view.first(*keys)
    return [decoded(item) for item in found] if isinstance(found, list) else found


def _provider(view: SpanView) -> str | None:
    """Return the provider, which stands before the SDK's name of a model class: `openai` of `openai.chat`."""
    said = view.name("ai.model.provider", "gen_ai.system")
    if said is None:
        return None
    provider, _, kind = said.rpartition(".")
    return provider if provider and kind in _PROVIDER_KINDS else said


def _tags(view: SpanView) -> Mapping[str, Any]:
    return view.under("ai.telemetry.metadata.")


CONVENTION = Convention(
    name="vercel_ai",
    namespaces=frozenset({"ai"}),
    recognise=any_under("ai."),
    span_type=_span_type,
    inputs=_inputs,
    outputs=_outputs,
    model=name("ai.response.model", "gen_ai.response.model", "ai.model.id", "gen_ai.request.model"),
    provider=_provider,
    usage=UsageKeys(
        input=("ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
        output=("ai.usage.outputTokens", "ai.usage.completionTokens"),
        total=("ai.usage.totalTokens",),
        cache_read=("ai.usage.cachedInputTokens", "ai.usage.inputTokenDetails.cacheReadTokens"),
        cache_creation=("ai.usage.inputTokenDetails.cacheWriteTokens",),
        reasoning=("ai.usage.reasoningTokens", "ai.usage.outputTokenDetails.reasoningTokens"),
    ),
    tools=value("ai.prompt.tools", shape=chat_tools),
    tags=_tags,
    originals=(
        "ai.operationId",
        "ai.prompt",
        "ai.prompt.",
        "ai.response.",
        "ai.toolCall.",
        "ai.usage.",
        "ai.model.",
        "ai.value",
        "ai.values",
        "ai.embedding",
        "ai.embeddings",
    ),
)
