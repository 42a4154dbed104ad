"""Policies on an attribute of a resource or span: string_attribute, numeric_attribute, boolean_attribute.

Source: contrib's internal/sampling/{string,numeric,boolean}_tag_filter.go. Contrib reads an attribute of another type
as empty, 0 or false, and so finds an integer range that holds 0 in a string; here another type never matches, and
floats count as numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from spanbridge.processors.tail_sampling.outcome import (
    INVERT_NOT_SAMPLED,
    INVERT_SAMPLED,
    NOT_SAMPLED,
    SAMPLED,
    Outcome,
)
from spanbridge.processors.tail_sampling.policies.config import (
    BooleanAttributeConfig,
    NumericAttributeConfig,
    StringAttributeConfig,
    compile_pattern,
)
from spanbridge.processors.tail_sampling.policies.policy import Policy
from spanbridge.processors.tail_sampling.view import View

_DEFAULT_CACHE_SIZE = 128
_MAX_CACHED_LENGTH = 1024
"""Longer values are prompts rather than names: they rarely come twice and would fill the memory."""


def string_attribute(config: StringAttributeConfig) -> Policy:
    """Return a policy that samples traces with an attribute that is one of the values, or matches an expression."""
    known = frozenset(config.values)
    matches = _cached_search(config) if config.enabled_regex_matching else known.__contains__

    def fits(value: AnyValue) -> bool:
        text = value.string_value
        return bool(text) and matches(text)

    return _any_value(config.key, fits, invert=config.invert_match)


def _cached_search(config: StringAttributeConfig) -> Callable[[str], bool]:
    patterns = [compile_pattern(value) for value in config.values]

    def search(text: str) -> bool:
        return any(pattern.search(text) for pattern in patterns)

    cached = lru_cache(maxsize=config.cache_max_size or _DEFAULT_CACHE_SIZE)(search)
    return lambda text: (cached if len(text) <= _MAX_CACHED_LENGTH else search)(text)


def numeric_attribute(config: NumericAttributeConfig) -> Policy:
    """Return a policy that samples traces with a number within the range."""
    low = -math.inf if config.min_value is None else config.min_value
    high = math.inf if config.max_value is None else config.max_value

    def fits(value: AnyValue) -> bool:
        kind = value.WhichOneof("value")
        return kind in ("int_value", "double_value") and low <= getattr(value, kind) <= high

    return _any_value(config.key, fits, invert=config.invert_match)


def boolean_attribute(config: BooleanAttributeConfig) -> Policy:
    """Return a policy that samples traces with the boolean."""

    def fits(value: AnyValue) -> bool:
        return value.HasField("bool_value") and value.bool_value == config.value

    return _any_value(config.key, fits, invert=config.invert_match)


def _any_value(key: str, fits: Callable[[AnyValue], bool], *, invert: bool) -> Policy:
    found, missing = (INVERT_NOT_SAMPLED, INVERT_SAMPLED) if invert else (SAMPLED, NOT_SAMPLED)

    def policy(view: View, _live: bool) -> Outcome:
        return found if any(fits(value) for _, value in view.attributes(key)) else missing

    return policy
