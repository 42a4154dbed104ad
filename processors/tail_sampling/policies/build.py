"""Building policies from their configuration, and what is known of a policy before it has seen a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from spanbridge.processors.tail_sampling.config import sub_policies
from spanbridge.processors.tail_sampling.limits import SecondBudget
from spanbridge.processors.tail_sampling.policies import attributes, chance, genai, limiting, spans
from spanbridge.processors.tail_sampling.policies.combining import And, Composite, Drop, Not, Share
from spanbridge.processors.tail_sampling.policies.config import (
    AndPolicyConfig,
    CompositeConfig,
    CompositePolicyConfig,
    DropPolicyConfig,
    NotPolicyConfig,
    PolicyConfig,
)
from spanbridge.processors.tail_sampling.policies.limiting import Clock
from spanbridge.processors.tail_sampling.policies.policy import Policy

_BARE: Final[Mapping[str, Policy]] = {
    "always_sample": spans.always_sample,
    "trace_flags": spans.trace_flags,
}

_BY_SECTION: Final[Mapping[str, Callable[[Any], Policy]]] = {
    "latency": spans.latency,
    "status_code": spans.status_code,
    "span_count": spans.span_count,
    "trace_state": spans.trace_state,
    "ottl_condition": spans.ottl_condition,
    "string_attribute": attributes.string_attribute,
    "numeric_attribute": attributes.numeric_attribute,
    "boolean_attribute": attributes.boolean_attribute,
    "probabilistic": chance.probabilistic,
    "session": chance.session,
    "token_usage": genai.token_usage,
    "cost": genai.cost,
    "span_type": genai.span_type,
    "error_type": genai.error_type,
    "tool": genai.tool,
}

_BY_SECTION_AND_CLOCK: Final[Mapping[str, Callable[[Any, Clock], Policy]]] = {
    "rate_limiting": limiting.rate_limiting,
    "bytes_limiting": limiting.bytes_limiting,
    "experiment_quota": limiting.experiment_quota,
}


def build(config: PolicyConfig, now: Clock) -> Policy:
    """Return the policy that a configuration describes.

    Args:
        config: The policy's configuration.
        now: Returns the time in seconds.
    """
    match config:
        case AndPolicyConfig():
            return And([build(sub, now) for sub in sub_policies(config)])
        case DropPolicyConfig():
            return Drop([build(sub, now) for sub in sub_policies(config)])
        case NotPolicyConfig():
            return Not(build(config.not_.not_sub_policy, now))
        case CompositePolicyConfig():
            return _composite(config.composite, now)
    if config.type in _BARE:
        return _BARE[config.type]
    section = getattr(config, config.type)
    if config.type in _BY_SECTION:
        return _BY_SECTION[config.type](section)
    return _BY_SECTION_AND_CLOCK[config.type](section, now)


def _composite(config: CompositeConfig, now: Clock) -> Policy:
    """Return a composite policy, with the budget of each sub-policy."""
    shares = [Share(build(sub, now), SecondBudget(config.spans_per_second(sub.name))) for sub in config.ordered()]
    return Composite(shares, now)


def keys(config: PolicyConfig) -> AbstractSet[str]:
    """Return the keys of the attributes that a policy looks for."""
    own: set[str] = set()
    match config.type:
        case "string_attribute":
            own = {config.string_attribute.key}
        case "numeric_attribute":
            own = {config.numeric_attribute.key}
        case "boolean_attribute":
            own = {config.boolean_attribute.key}
        case "experiment_quota":
            own = {config.experiment_quota.key}
        case "session":
            own = set(chance.SESSION_KEYS)
        case "token_usage" | "cost" | "span_type" | "error_type" | "tool":
            own = set(genai.KEYS[config.type])
    return own.union(*(keys(sub) for sub in sub_policies(config)))


def only_gains(config: PolicyConfig) -> bool:
    """Return whether a trace that the policy samples stays sampled whatever spans follow.

    It is False for limits and draws, whose answers must not be asked for early.
    """
    match config.type:
        case "latency":
            return not config.latency.upper_threshold_ms
        case "span_count":
            return not config.span_count.max_spans
        case "string_attribute":
            return not config.string_attribute.invert_match
        case "numeric_attribute":
            return not config.numeric_attribute.invert_match
        case "boolean_attribute":
            return not config.boolean_attribute.invert_match
        case "always_sample" | "status_code" | "trace_state" | "trace_flags" | "ottl_condition":
            return True
        case "span_type" | "error_type" | "tool":
            return True
        case "and" | "drop":
            return all(only_gains(sub) for sub in sub_policies(config))
        case _:
            return False
