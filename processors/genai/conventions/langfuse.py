"""Langfuse SDK v3 to v5: `langfuse.observation.*` on each span, `langfuse.trace.*` on any.

Source: spans of the Python SDK 5.0.4, and langfuse/_client/attributes.py. Values that are not texts come as JSON.
"""

from __future__ import annotations

from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.documents import documents
from spanbridge.processors.genai.convention import Convention, any_under, lookup, name, shown_input, shown_output, value
from spanbridge.processors.genai.usage import (
    CACHE_CREATION,
    CACHE_READ,
    INPUT,
    OUTPUT,
    REASONING,
    TOTAL,
    Cost,
    CostKeys,
    Usage,
    usage,
    usage_object,
)
from spanbridge.processors.genai.values import as_count, as_object, decoded
from spanbridge.processors.genai.view import SpanView

_TYPES = {
    "span": types.UNKNOWN,
    "event": types.UNKNOWN,
    "generation": types.LLM,
    "embedding": types.EMBEDDING,
    "agent": types.AGENT,
    "tool": types.TOOL,
    "chain": types.CHAIN,
    "retriever": types.RETRIEVER,
    "evaluator": types.EVALUATOR,
    "guardrail": types.GUARDRAIL,
}
_AS_IT_IS = ("tool", "embedding", "evaluator", "guardrail")
_TAGS = {
    "langfuse.trace.tags": "tags",
    "langfuse.environment": "environment",
    "langfuse.release": "release",
    "langfuse.version": "version",
}
RESOURCE_TAGS = {key: _TAGS[key] for key in ("langfuse.environment", "langfuse.release")}
"""Tags that an application may state once, on its resource."""

_COST = CostKeys(input=("input",), output=("output",), total=("total",))
_CACHE_READS = ("cache_read", "cached")
_CACHE_WRITES = ("cache_creation", "cache_write")


def _kind(view: SpanView) -> str | None:
    return view.name("langfuse.observation.type")


def _inputs(view: SpanView) -> Any:
    found = view.first("langfuse.observation.input", "langfuse.trace.input")
    return found if _kind(view) in _AS_IT_IS else shown_input(found)


def _outputs(view: SpanView) -> Any:
    found = view.first("langfuse.observation.output", "langfuse.trace.output")
    kind = _kind(view)
    if kind == "retriever":
        return documents(found) or found
    return found if kind in _AS_IT_IS else shown_output(found)


def _usage(found: Any) -> Usage | None:
    details = as_object(found)
    if not details:
        return None
    return usage_object(details) or _buckets(details)


def _buckets(details: dict[str, Any]) -> Usage | None:
    """Read Langfuse's own form: buckets called input*, output* and the cache's, which do not overlap."""
    counts = {key: count for key, item in details.items() if (count := as_count(item)) is not None}
    read = sum(count for key, count in counts.items() if any(word in key for word in _CACHE_READS))
    written = sum(count for key, count in counts.items() if any(word in key for word in _CACHE_WRITES))
    thought = sum(count for key, count in counts.items() if "reasoning" in key)
    apart = sum(count for key, count in counts.items() if key not in ("input", "output", "total") and "input" in key)
    apart_out = sum(
        count for key, count in counts.items() if key not in ("input", "output", "total") and "output" in key
    )
    given, answered, total = counts.get("input"), counts.get("output"), counts.get("total")
    if total is None or (given or 0) + (answered or 0) + apart + apart_out == total:
        given = given + apart if given is not None else apart or None
        answered = answered + apart_out if answered is not None else apart_out or None
    known = {INPUT: given, OUTPUT: answered, TOTAL: total}
    extra = {CACHE_READ: read or None, CACHE_CREATION: written or None, REASONING: thought or None}
    return usage({field: count for field, count in {**known, **extra}.items() if count is not None})


def _cost(found: Any) -> Cost | None:
    return _COST.read(as_object(found).get)


def _tags(view: SpanView) -> dict[str, Any]:
    tags = {key: decoded(item) for key, item in view.under("langfuse.trace.metadata.").items()}
    for key, tag in _TAGS.items():
        found = view.get(key)
        if found is not None:
            tags[tag] = found
    return tags


CONVENTION = Convention(
    name="langfuse",
    namespaces=frozenset({"langfuse"}),
    recognise=any_under("langfuse."),
    span_type=lookup("langfuse.observation.type", _TYPES),
    inputs=_inputs,
    outputs=_outputs,
    model=name("langfuse.observation.model.name"),
    usage=value("langfuse.observation.usage_details", shape=_usage),
    cost=value("langfuse.observation.cost_details", shape=_cost),
    trace_name=name("langfuse.trace.name"),
    tags=_tags,
    originals=(
        "langfuse.observation.type",
        "langfuse.observation.input",
        "langfuse.observation.output",
        "langfuse.observation.usage_details",
        "langfuse.observation.cost_details",
        "langfuse.observation.model.name",
    ),
)
