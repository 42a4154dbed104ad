"""From a policy's configuration to the policy, and what it reads."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from processors.tail_sampling import attribute_policies, chance_policies, genai_policies, limiting_policies
from processors.tail_sampling import span_policies as on_spans
from processors.tail_sampling.combining_policies import And, Composite, Drop, Not, Share
from processors.tail_sampling.config import sub_policies
from processors.tail_sampling.limiting_policies import Clock
from processors.tail_sampling.limits import SecondBudget
from processors.tail_sampling.policies import Policy
from processors.tail_sampling.policy_config import PolicyConfig


def build(config: PolicyConfig, now: Clock) -> Policy:  # noqa: C901, PLR0912  one line a type is the plainest table
    """The policy that a configuration describes. `now` gives seconds."""
    match config.type:
        case "always_sample":
            return on_spans.always_sample
        case "trace_flags":
            return on_spans.trace_flags
        case "latency":
            return on_spans.latency(config.latency)
        case "status_code":
            return on_spans.status_code(config.status_code)
        case "span_count":
            return on_spans.span_count(config.span_count)
        case "trace_state":
            return on_spans.trace_state(config.trace_state)
        case "ottl_condition":
            return on_spans.ottl_condition(config.ottl_condition)
        case "string_attribute":
            return attribute_policies.string_attribute(config.string_attribute)
        case "numeric_attribute":
            return attribute_policies.numeric_attribute(config.numeric_attribute)
        case "boolean_attribute":
            return attribute_policies.boolean_attribute(config.boolean_attribute)
        case "probabilistic":
            return chance_policies.probabilistic(config.probabilistic)
        case "session":
            return chance_policies.session(config.session)
        case "rate_limiting":
            return limiting_policies.rate_limiting(config.rate_limiting, now)
        case "bytes_limiting":
            return limiting_policies.bytes_limiting(config.bytes_limiting, now)
        case "experiment_quota":
            return limiting_policies.experiment_quota(config.experiment_quota, now)
        case "token_usage":
            return genai_policies.token_usage(config.token_usage)
        case "cost":
            return genai_policies.cost(config.cost)
        case "span_type":
            return genai_policies.span_type(config.span_type)
        case "error_type":
            return genai_policies.error_type(config.error_type)
        case "tool":
            return genai_policies.tool(config.tool)
        case "and":
            return And([build(sub, now) for sub in config.and_.and_sub_policy])
        case "drop":
            return Drop([build(sub, now) for sub in config.drop.drop_sub_policy])
        case "not":
            return Not(build(config.not_.not_sub_policy, now))
        case "composite":
            composite = config.composite
            shares = [
                Share(build(sub, now), SecondBudget(composite.spans_per_second(sub.name)))
                for sub in composite.ordered()
            ]
            return Composite(shares, now)


def keys(config: PolicyConfig) -> AbstractSet[str]:
    """The attributes that a policy looks for."""
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
            own = set(chance_policies.SESSION_KEYS)
        case "token_usage" | "cost" | "span_type" | "error_type" | "tool":
            own = set(genai_policies.KEYS[config.type])
    return own.union(*(keys(sub) for sub in sub_policies(config)))


def only_gains(config: PolicyConfig) -> bool:
    """Whether a trace that the policy samples stays sampled whatever spans follow; a limit or a draw does not count."""
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
