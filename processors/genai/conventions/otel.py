"""OpenTelemetry's GenAI semantic conventions, current and deprecated names, and what is commonly written beside them.

Source: open-telemetry/semantic-conventions-genai (registry and migration.md); the older names are of
semantic-conventions up to 1.41. Content may be a JSON text or a structured value.
"""

from __future__ import annotations

from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.answers import answer, choices
from spanbridge.processors.genai.content.documents import documents
from spanbridge.processors.genai.content.messages import chat_messages, system_messages
from spanbridge.processors.genai.content.tools import chat_tools
from spanbridge.processors.genai.convention import (
    Convention,
    chat_input,
    name,
    shown_output,
    value,
)
from spanbridge.processors.genai.events import semconv_events
from spanbridge.processors.genai.usage import CostKeys, UsageKeys
from spanbridge.processors.genai.values import decoded, objects
from spanbridge.processors.genai.view import SpanView

OPERATIONS = {
    "chat": types.CHAT_MODEL,
    "generate_content": types.LLM,
    "text_completion": types.LLM,
    "completion": types.LLM,
    "response": types.LLM,
    "fetch_response": types.LLM,
    "image": types.LLM,
    "image_generation": types.LLM,
    "transcription": types.LLM,
    "text_to_speech": types.LLM,
    "speech": types.LLM,
    "embeddings": types.EMBEDDING,
    "embedding": types.EMBEDDING,
    "create_agent": types.AGENT,
    "invoke_agent": types.AGENT,
    "handoff": types.AGENT,
    "invoke_workflow": types.WORKFLOW,
    "execute_tool": types.TOOL,
    "retrieval": types.RETRIEVER,
    "rerank": types.RERANKER,
    "chain": types.CHAIN,
    "plan": types.CHAIN,
    "agent_step": types.CHAIN,
    "execute_event_loop_cycle": types.CHAIN,
    "framework": types.CHAIN,
    "execute_task": types.TASK,
    "guardrail": types.GUARDRAIL,
    "guard": types.GUARDRAIL,
    "evaluate": types.EVALUATOR,
    "evaluation": types.EVALUATOR,
    "create_memory": types.MEMORY,
    "update_memory": types.MEMORY,
    "upsert_memory": types.MEMORY,
    "delete_memory": types.MEMORY,
    "search_memory": types.MEMORY,
    "create_memory_store": types.MEMORY,
    "delete_memory_store": types.MEMORY,
}

_LIKENESS = (
    ("memory", types.MEMORY),
    ("embed", types.EMBEDDING),
    ("rerank", types.RERANKER),
    ("retriev", types.RETRIEVER),
    ("tool", types.TOOL),
    ("agent", types.AGENT),
    ("workflow", types.WORKFLOW),
    ("evaluat", types.EVALUATOR),
    ("guard", types.GUARDRAIL),
)
_TYPE_BY_KEY = (
    ("gen_ai.tool.name", types.TOOL),
    ("gen_ai.tool.call.id", types.TOOL),
    ("gen_ai.request.model", types.LLM),
    ("gen_ai.response.model", types.LLM),
    ("gen_ai.retrieval.query.text", types.RETRIEVER),
    ("gen_ai.retrieval.documents", types.RETRIEVER),
    ("gen_ai.memory.query.text", types.MEMORY),
    ("gen_ai.memory.store.id", types.MEMORY),
    ("gen_ai.evaluation.name", types.EVALUATOR),
    ("gen_ai.workflow.name", types.WORKFLOW),
    ("gen_ai.task.kind", types.TASK),
)
_QUERIES = (
    ("gen_ai.retrieval.query.text", "gen_ai.retrieval.top_k"),
    ("gen_ai.memory.query.text", "gen_ai.memory.top_k"),
)

USAGE = UsageKeys(
    input=("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens"),
    output=("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens"),
    total=("gen_ai.usage.total_tokens", "llm.usage.total_tokens"),
    cache_read=(
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.input_cached_tokens",
        "gen_ai.usage.details.cache_read_tokens",
    ),
    cache_creation=(
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.cache_write_input_tokens",
        "gen_ai.usage.details.cache_write_tokens",
    ),
    reasoning=(
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "llm.usage.reasoning_tokens",
        "gen_ai.usage.details.reasoning_tokens",
    ),
)


def _span_type(view: SpanView) -> str | None:
    operation = view.name("gen_ai.operation.name")
    if operation:
        operation = operation.lower()
        known = OPERATIONS.get(operation) or next((kind for part, kind in _LIKENESS if part in operation), None)
        if known:
            return known
    return next((kind for key, kind in _TYPE_BY_KEY if key in view), None)


def _asked(view: SpanView) -> Any:
    found = view.get("gen_ai.input.messages")
    messages = None if found is None else chat_messages(decoded(found))
    if not messages:
        return found
    system = view.get("gen_ai.system_instructions")
    return {"messages": [*system_messages(system), *messages] if system is not None else messages}


def _query(view: SpanView) -> Any:
    for query_key, top_k_key in _QUERIES:
        query = view.get(query_key)
        if query is not None:
            top_k = view.get(top_k_key)
            return {"query": query} if top_k is None else {"query": query, "top_k": top_k}
    return None


def _answered(found: Any) -> Any:
    content = decoded(found)
    if isinstance(content, str):
        return answer(content)
    messages = objects(content)
    if isinstance(content, list) and len(messages) != len(content):
        return found
    shaped = [message if "role" in message else {"role": "assistant", **message} for message in messages]
    return choices(shaped) or found


def _completion(found: Any) -> Any:
    return None if decoded(found) == {"output": None} else shown_output(found)


def _score(view: SpanView) -> Any:
    scored = view.under("gen_ai.evaluation.")
    told = {key: scored[key] for key in ("name", "score.value", "score.label", "explanation") if key in scored}
    return told if len(told) > 1 else None


CONVENTION = Convention(
    name="otel",
    namespaces=frozenset({"gen_ai"}),
    span_type=_span_type,
    inputs=(
        value("gen_ai.tool.call.arguments"),
        _asked,
        chat_input("gen_ai.prompt"),
        _query,
        value("gen_ai.task.input"),
    ),
    outputs=(
        value("gen_ai.tool.call.result"),
        value("gen_ai.output.messages", shape=_answered),
        value("gen_ai.completion", shape=_completion),
        value("gen_ai.retrieval.documents", shape=lambda found: documents(found) or found),
        value("gen_ai.memory.records", "gen_ai.task.output"),
        _score,
    ),
    events=semconv_events,
    model=name("gen_ai.response.model", "gen_ai.request.model"),
    provider=name("gen_ai.provider.name", "gen_ai.system"),
    usage=USAGE,
    cost=CostKeys(
        input=("gen_ai.usage.input_cost", "gen_ai.cost.input_cost"),
        output=("gen_ai.usage.output_cost", "gen_ai.cost.output_cost"),
        total=("gen_ai.usage.cost", "gen_ai.usage.total_cost", "gen_ai.cost.total_cost"),
    ),
    tools=value("gen_ai.tool.definitions", shape=chat_tools),
    originals=(
        "gen_ai.operation.name",
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
        "gen_ai.tool.definitions",
        "gen_ai.prompt",
        "gen_ai.completion",
        "gen_ai.provider.name",
        "gen_ai.system",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "gen_ai.usage.",
        "gen_ai.retrieval.",
        "gen_ai.memory.",
    ),
)
