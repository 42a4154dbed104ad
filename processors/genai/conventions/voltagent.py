"""VoltAgent: `entity.type` and `span.type`, messages as OpenAI's, content under plain `input` and `output`.

Source: voltagent.dev/observability. Only spans with a `voltagent.*` or `entity.type` key are taken, for the plain keys
are anybody's.
"""

from __future__ import annotations

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.convention import (
    Convention,
    any_under,
    chat_input,
    chat_output,
    lookup,
    name,
)
from spanbridge.processors.genai.usage import UsageKeys
from spanbridge.processors.genai.view import SpanView

_TYPES = {
    "agent": types.AGENT,
    "llm": types.LLM,
    "tool": types.TOOL,
    "memory": types.MEMORY,
    "retriever": types.RETRIEVER,
    "workflow": types.WORKFLOW,
    "workflow-step": types.TASK,
}


def _format(view: SpanView) -> str | None:
    """Return the format of what is written: for `voltagent` MLflow's chat view expects VoltAgent's own shape."""
    return "openai" if "agent.messages" in view or "llm.messages" in view else None


CONVENTION = Convention(
    name="voltagent",
    namespaces=frozenset({"voltagent", "entity"}),
    recognise=any_under("voltagent.", "entity.type"),
    span_type=(lookup("span.type", _TYPES), lookup("entity.type", _TYPES)),
    inputs=chat_input("agent.messages", "llm.messages", "input"),
    outputs=chat_output("output"),
    model=name("ai.model.name", "llm.model", "gen_ai.request.model"),
    usage=UsageKeys(
        input=("usage.prompt_tokens", "llm.usage.prompt_tokens"),
        output=("usage.completion_tokens", "llm.usage.completion_tokens"),
        total=("usage.total_tokens", "llm.usage.total_tokens"),
        cache_read=("usage.cached_tokens",),
        reasoning=("usage.reasoning_tokens",),
    ),
    message_format=_format,
    originals=("agent.messages", "llm.messages"),
)
