"""Token usage and cost in every convention's and provider's form, in MLflow's keys.

MLflow's keys are mlflow.tracing.constant: TokenUsageKey, CostKey.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from spanbridge.processors.genai.values import as_count, as_number, as_object
from spanbridge.processors.genai.view import SpanView

Usage: TypeAlias = dict[str, int]
Cost: TypeAlias = dict[str, float]
Get: TypeAlias = Callable[[str], Any]
Count: TypeAlias = Callable[[str], int | None]

INPUT, OUTPUT, TOTAL = "input_tokens", "output_tokens", "total_tokens"
CACHE_READ, CACHE_CREATION = "cache_read_input_tokens", "cache_creation_input_tokens"
CACHE_CREATION_1H = "cache_creation_input_tokens_above_1hr"
REASONING = "reasoning_tokens"
"""Not a key of MLflow, whose aggregate ignores it: kept for the reader of the span."""


class UsageKeys:
    """The attributes under which a convention states token usage; of several keys the first that is there counts.

    Args:
        input: Keys of the input tokens.
        output: Keys of the output tokens.
        total: Keys of all tokens.
        cache_read: Keys of the input tokens that were read from a cache.
        cache_creation: Keys of the input tokens that were written to a cache.
        reasoning: Keys of the output tokens that were spent on reasoning.
        cache_apart: Whether the input count leaves cached tokens out (Anthropic's way); they are then added, as
            MLflow's prices expect.
    """

    __slots__ = ("_fields", "_ordered", "cache_apart", "keys")

    def __init__(  # noqa: PLR0913  one argument for each count there is
        self,
        *,
        input: tuple[str, ...] = (),  # noqa: A002  reads as the field it is
        output: tuple[str, ...] = (),
        total: tuple[str, ...] = (),
        cache_read: tuple[str, ...] = (),
        cache_creation: tuple[str, ...] = (),
        reasoning: tuple[str, ...] = (),
        cache_apart: bool = False,
    ) -> None:
        fields = {
            INPUT: input,
            OUTPUT: output,
            TOTAL: total,
            CACHE_READ: cache_read,
            CACHE_CREATION: cache_creation,
            REASONING: reasoning,
        }
        self._fields = {key: field for field, keys in fields.items() for key in keys}
        self._ordered = tuple(self._fields)
        self.keys = frozenset((*input, *output, *total))
        self.cache_apart = cache_apart

    def __call__(self, view: SpanView) -> Usage | None:
        """Return the usage that a span states, or None."""
        return self._read(view.count, view.layout.common(self._ordered))

    def within(self, stated: Mapping[str, Any]) -> Usage | None:
        """Return the usage that an object states under the keys, or None."""
        present = [key for key in self._ordered if key in stated]
        return None if self.keys.isdisjoint(present) else self._read(lambda key: as_count(stated[key]), present)

    def _read(self, count: Count, present: Sequence[str]) -> Usage | None:
        counts: Usage = {}
        for key in present:
            field = self._fields[key]
            if field not in counts and (number := count(key)) is not None:
                counts[field] = number
        if self.cache_apart and INPUT in counts:
            counts[INPUT] += counts.get(CACHE_READ, 0) + counts.get(CACHE_CREATION, 0)
        return usage(counts)


def _first(count: Count, keys: tuple[str, ...]) -> int | None:
    for key in keys:
        if (number := count(key)) is not None:
            return number
    return None


def usage(counts: Usage) -> Usage | None:
    """Return the counts with a total, or None when nothing is counted. Embeddings state their input alone."""
    given, answered, total = counts.get(INPUT), counts.get(OUTPUT), counts.get(TOTAL)
    if given is None and answered is None and total is None:
        return None
    counts[TOTAL] = max(total or 0, (given or 0) + (answered or 0))
    return counts


def is_zero(found: Usage) -> bool:
    """Return whether a usage counts nothing; instrumentations write zeros where they were told nothing."""
    return not any(found.values())


_OPENAI = UsageKeys(
    input=("prompt_tokens", "promptTokens"),
    output=("completion_tokens", "completionTokens"),
    total=("total_tokens", "totalTokens"),
)
_RESPONSES = UsageKeys(
    input=("input_tokens", "inputTokens", "input_token_count"),
    output=("output_tokens", "outputTokens", "output_token_count"),
    total=("total_tokens", "totalTokens", "total_token_count"),
    cache_read=("cache_read_input_tokens", "cacheReadInputTokens", "cachedInputTokens", "cached_input_tokens"),
    cache_creation=("cache_creation_input_tokens", "cacheWriteInputTokens"),
    reasoning=("reasoning_tokens", "reasoningTokens", "reasoning_output_tokens"),
)
_GEMINI = UsageKeys(
    input=("promptTokenCount", "prompt_token_count"),
    output=("candidatesTokenCount", "candidates_token_count"),
    total=("totalTokenCount", "total_token_count"),
    cache_read=("cachedContentTokenCount", "cached_content_token_count"),
    reasoning=("thoughtsTokenCount", "thoughts_token_count"),
)
_DETAILS = {
    CACHE_READ: ("cached_tokens", "cache_read", "cache_read_tokens"),
    CACHE_CREATION: ("cache_creation", "cache_write", "cache_write_tokens", "cache_creation_tokens"),
    REASONING: ("reasoning_tokens", "reasoning"),
}
_DETAIL_OBJECTS = (
    "prompt_tokens_details",
    "completion_tokens_details",
    "input_tokens_details",
    "output_tokens_details",
    "input_token_details",
    "output_token_details",
)


def usage_object(value: Any) -> Usage | None:
    """Return the usage in a provider's own object, or None.

    It reads OpenAI's (both APIs), Anthropic's, Bedrock's, Gemini's and LangChain's.
    """
    stated = as_object(value)
    read = [found for keys in (_OPENAI, _RESPONSES, _GEMINI) if (found := keys.within(stated)) is not None]
    if not read:
        return None
    # All of them may state a total; the form is the one whose counts are there.
    found = next((one for one in read if INPUT in one or OUTPUT in one), read[0])
    return _anthropic_total(stated, found) | _details(stated)


def _counts(stated: Mapping[str, Any]) -> Count:
    return lambda key: as_count(stated[key]) if key in stated else None


def _anthropic_total(stated: Mapping[str, Any], found: Usage) -> Usage:
    """Return Anthropic's usage with a total: its input count leaves cached tokens out, and it states no total."""
    if "cache_read_input_tokens" not in stated or as_count(stated.get("total_tokens")) is not None:
        return found
    cached = found.get(CACHE_READ, 0) + found.get(CACHE_CREATION, 0)
    return {**found, INPUT: found.get(INPUT, 0) + cached, TOTAL: found[TOTAL] + cached}


def _details(stated: Mapping[str, Any]) -> Usage:
    found: Usage = {}
    for name in _DETAIL_OBJECTS:
        details = as_object(stated[name]) if name in stated else {}
        for key, names in _DETAILS.items():
            if details and (number := _first(_counts(details), names)) is not None:
                found[key] = number
    return found


class CostKeys:
    """The attributes under which a convention states the cost of a call, in US dollars."""

    __slots__ = ("_keys", "keys")

    def __init__(
        self,
        *,
        input: tuple[str, ...] = (),  # noqa: A002  reads as the field it is
        output: tuple[str, ...] = (),
        total: tuple[str, ...] = (),
    ) -> None:
        self._keys = {"input_cost": input, "output_cost": output, "total_cost": total}
        self.keys = (*input, *output, *total)

    def __call__(self, view: SpanView) -> Cost | None:
        """Return the cost that a span states, or None: MLflow then prices the tokens itself."""
        return self.read(view.get)

    def read(self, get: Get) -> Cost | None:
        """Return the cost that is stated under the keys, or None.

        Args:
            get: Returns the value under a key, or None.
        """
        known = {field: amount for field, keys in self._keys.items() if (amount := _amount(get, keys)) is not None}
        if not known:
            return None
        # MLflow's UI shows a cost only if all three are there, so what is not known is 0.
        parts = known.get("input_cost", 0.0) + known.get("output_cost", 0.0)
        return {"input_cost": 0.0, "output_cost": 0.0, "total_cost": parts, **known}


def _amount(get: Get, keys: tuple[str, ...]) -> float | None:
    for key in keys:
        value = get(key)
        if value is not None and (amount := as_number(value)) is not None:
            return float(amount)
    return None
