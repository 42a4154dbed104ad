"""Policies on what GenAI traces carry: token_usage, cost, span_type, error_type, tool.

They read the `mlflow.*` attributes that normalization writes, and the `gen_ai.*` ones where these are as plain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.processors.attributes import find, to_amount, to_object, to_python
from spanbridge.processors.tail_sampling.outcome import NOT_SAMPLED, SAMPLED, Outcome
from spanbridge.processors.tail_sampling.policies.config import (
    CostConfig,
    ErrorTypeConfig,
    SpanTypeConfig,
    TokenUsageConfig,
    ToolConfig,
)
from spanbridge.processors.tail_sampling.policies.policy import Policy
from spanbridge.processors.tail_sampling.view import View

USAGE: Final = "mlflow.chat.tokenUsage"
COST: Final = "mlflow.llm.cost"
SPAN_TYPE: Final = "mlflow.spanType"
OPERATION: Final = "gen_ai.operation.name"
ERROR_TYPE: Final = "error.type"
TOOL_NAMES: Final = ("gen_ai.tool.name", "tool.name")
INPUT_TOKENS: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
OUTPUT_TOKENS: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
PLAIN_COSTS: Final = ("gen_ai.usage.cost", "llm.cost.total")

KEYS: Final = {
    "token_usage": (USAGE, *INPUT_TOKENS, *OUTPUT_TOKENS),
    "cost": (COST, *PLAIN_COSTS),
    "span_type": (SPAN_TYPE, OPERATION),
    "error_type": (ERROR_TYPE,),
    "tool": (SPAN_TYPE, *TOOL_NAMES),
}
"""The attributes that each type of policy looks for."""

_TYPE_OF_OPERATION: Final = {
    "chat": "CHAT_MODEL",
    "generate_content": "LLM",
    "text_completion": "LLM",
    "embeddings": "EMBEDDING",
    "execute_tool": "TOOL",
    "create_agent": "AGENT",
    "invoke_agent": "AGENT",
    "retrieval": "RETRIEVER",
}


def token_usage(config: TokenUsageConfig) -> Policy:
    """Return a policy that samples traces whose tokens, each model call counted once, reach all the minimums."""
    least = {"input": config.min_input or 0, "output": config.min_output or 0, "total": config.min_total or 0}

    def policy(view: View, _live: bool) -> Outcome:
        usages = _usages(view)
        # What all spans say together is never less than what counts, and mostly not enough.
        return SAMPLED if enough(_added(usages.values())) and enough(_summed(view, usages)) else NOT_SAMPLED

    def enough(used: Mapping[str, float]) -> bool:
        return all(used.get(side, 0) >= minimum for side, minimum in least.items())

    return policy


def cost(config: CostConfig) -> Policy:
    """Return a policy that samples traces whose cost, each model call counted once, is at least the minimum."""

    def policy(view: View, _live: bool) -> Outcome:
        return SAMPLED if _summed(view, _costs(view)).get("total", 0.0) >= config.min_usd else NOT_SAMPLED

    return policy


def span_type(config: SpanTypeConfig) -> Policy:
    """Return a policy that samples traces with enough spans of one of the types; upper and lower case are the same."""
    types = frozenset(name.upper() for name in config.types)

    def policy(view: View, _live: bool) -> Outcome:
        typed = {id(span): _plain(value) for span, value in view.attributes(SPAN_TYPE) if span is not None}
        for span, value in view.attributes(OPERATION):
            typed.setdefault(id(span), _TYPE_OF_OPERATION.get(value.string_value, ""))
        return SAMPLED if sum(name.upper() in types for name in typed.values()) >= config.min_count else NOT_SAMPLED

    return policy


def error_type(config: ErrorTypeConfig) -> Policy:
    """Return a policy that samples traces in which an `error.type` or `exception.type` is one of the values.

    The first is an attribute of a span, the second of an exception event.
    """
    values = frozenset(config.values)

    def policy(view: View, _live: bool) -> Outcome:
        named = any(value.string_value in values for _, value in view.attributes(ERROR_TYPE))
        return SAMPLED if named or any(_raised(span) & values for span in view.spans) else NOT_SAMPLED

    return policy


def _raised(span: Span) -> set[str]:
    found = (find(event.attributes, "exception.type") for event in span.events)
    return {value.string_value for value in found if value is not None}


def tool(config: ToolConfig) -> Policy:
    """Return a policy that samples traces in which one of the tools was called.

    A span shows that by stating the tool's name, or by being of type TOOL and having its name.
    """
    names = frozenset(config.names)

    def policy(view: View, _live: bool) -> Outcome:
        named = any(value.string_value in names for key in TOOL_NAMES for _, value in view.attributes(key))
        return SAMPLED if named or any(span.name in names for span in _tool_spans(view)) else NOT_SAMPLED

    return policy


def _tool_spans(view: View) -> Iterable[Span]:
    return (span for span, value in view.attributes(SPAN_TYPE) if span is not None and _plain(value).upper() == "TOOL")


def _plain(value: AnyValue) -> str:
    """Return a string; MLflow's own spans write it as JSON, in quotes."""
    return value.string_value.strip('"')


# ---- sums over a trace


def _usages(view: View) -> dict[bytes, dict[str, float]]:
    usages: dict[bytes, dict[str, float]] = {}
    for side, keys in (("input", INPUT_TOKENS), ("output", OUTPUT_TOKENS)):
        for key in keys:
            for span, value in view.attributes(key):
                if span is not None:
                    usages.setdefault(span.span_id, {}).setdefault(side, _plain_number(value))
    for span, value in view.attributes(USAGE):
        if span is not None and (fields := to_object(value)):
            usages[span.span_id] = {
                side: _amount(fields[f"{side}_tokens"])
                for side in ("input", "output", "total")
                if f"{side}_tokens" in fields
            }
    for usage in usages.values():
        usage.setdefault("total", usage.get("input", 0) + usage.get("output", 0))
    return usages


def _costs(view: View) -> dict[bytes, dict[str, float]]:
    costs: dict[bytes, dict[str, float]] = {}
    for key, read in ((COST, _total_cost), *((key, _plain_number) for key in PLAIN_COSTS)):
        for span, value in view.attributes(key):
            if span is not None:
                costs.setdefault(span.span_id, {"total": read(value)})
    return costs


def _total_cost(value: AnyValue) -> float:
    return _amount(to_object(value).get("total_cost"))


def _plain_number(value: AnyValue) -> float:
    number = value.int_value
    return number if number > 0 else _amount(to_python(value))


def _summed(view: View, amounts: dict[bytes, dict[str, float]]) -> dict[str, float]:
    """Return the sum over spans, without those below another with amounts: an agent's roll-up hides its model calls.

    That is how MLflow adds up a trace (mlflow/tracing/utils, `_aggregate_from_nodes`).
    """
    if len(amounts) > 1:
        parents = {span.span_id: span.parent_span_id for span in view.spans}
        hidden = _hidden(amounts.keys(), parents)
        amounts = {span_id: amount for span_id, amount in amounts.items() if not hidden(span_id)}
    return _added(amounts.values())


def _added(amounts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for amount in amounts:
        for side, number in amount.items():
            total[side] = total.get(side, 0) + number
    return total


def _hidden(tops: AbstractSet[bytes], parents: Mapping[bytes, bytes]) -> Callable[[bytes], bool]:
    """Return a test for spans with an ancestor among `tops`: linear over all calls, and safe with cycles."""
    known: dict[bytes, bool] = {}

    def hidden(span_id: bytes) -> bool:
        path: list[bytes] = []
        while span_id not in known:
            path.append(span_id)
            known[span_id] = False  # a cycle that comes back here ends
            parent = parents.get(span_id, b"")
            if parent in tops and parent != span_id:
                known.update(dict.fromkeys(path, True))
            elif parent in parents:
                span_id = parent
        known.update(dict.fromkeys(path, known[span_id]))
        return known[span_id]

    return hidden


def _amount(value: Any) -> float:
    return to_amount(value) or 0.0
