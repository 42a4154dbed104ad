"""Policies on what every trace has: latency, status_code, span_count, trace_state, trace_flags, ottl_condition.

Source: contrib's internal/sampling, the file of each policy's name.
"""

from __future__ import annotations

from opentelemetry.proto.trace.v1.trace_pb2 import Status

from spanbridge.processors.ottl import Conditions, OttlError
from spanbridge.processors.tail_sampling.outcome import NOT_SAMPLED, SAMPLED, Outcome
from spanbridge.processors.tail_sampling.policies.config import (
    LatencyConfig,
    OttlConditionConfig,
    SpanCountConfig,
    StatusCodeConfig,
    TraceStateConfig,
)
from spanbridge.processors.tail_sampling.policies.policy import Policy, PolicyError
from spanbridge.processors.tail_sampling.view import View
from spanbridge.processors.trace_state import TraceStateError, members
from spanbridge.processors.types import spans_in_context

_NANOSECONDS_IN_MS = 1_000_000
_SAMPLED_FLAG = 1


def _vote(condition: bool) -> Outcome:
    return SAMPLED if condition else NOT_SAMPLED


def always_sample(_view: View, _live: bool) -> Outcome:
    """Sample every trace."""
    return SAMPLED


def latency(config: LatencyConfig) -> Policy:
    """Return a policy that samples traces by duration, from the earliest start to the latest end, in whole ms.

    Times of 0 are unset. Without an upper bound the lower one is inclusive; with one it is exclusive and the upper one
    inclusive. Contrib looks at a trace as it grows span by span, so that the order of spans matters; here only the
    whole trace counts.
    """
    low, high = config.threshold_ms, config.upper_threshold_ms

    def policy(view: View, _live: bool) -> Outcome:
        start = min((time for span in view.spans if (time := span.start_time_unix_nano)), default=0)
        end = max((span.end_time_unix_nano for span in view.spans), default=0)
        duration = max(0, end - start) // _NANOSECONDS_IN_MS if start else 0
        return _vote(low < duration <= high if high else duration >= low)

    return policy


def status_code(config: StatusCodeConfig) -> Policy:
    """Return a policy that samples traces in which a span has one of the status codes."""
    codes = frozenset(Status.StatusCode.Value(f"STATUS_CODE_{name}") for name in config.status_codes)

    def policy(view: View, _live: bool) -> Outcome:
        return _vote(any(span.status.code in codes for span in view.spans))

    return policy


def span_count(config: SpanCountConfig) -> Policy:
    """Return a policy that samples traces whose number of spans is within the range."""
    low, high = config.min_spans, config.max_spans

    def policy(view: View, _live: bool) -> Outcome:
        count = len(view.spans)
        return _vote(low <= count and (not high or count <= high))

    return policy


def trace_state(config: TraceStateConfig) -> Policy:
    """Return a policy that samples traces in which a span's tracestate has the member with one of the values."""
    wanted = frozenset((config.key, value) for value in config.values)

    def policy(view: View, _live: bool) -> Outcome:
        return _vote(any(not wanted.isdisjoint(_members(text)) for text in {span.trace_state for span in view.spans}))

    return policy


def _members(text: str) -> list[tuple[str, str]]:
    try:
        return members(text)
    except TraceStateError:
        return []


def trace_flags(view: View, _live: bool) -> Outcome:
    """Sample traces in which a span has the W3C sampled flag."""
    return _vote(any(span.flags & _SAMPLED_FLAG for span in view.spans))


def ottl_condition(config: OttlConditionConfig) -> Policy:
    """Return a policy that samples traces in which a span, or an event of a span, meets one of its conditions.

    The policy raises `PolicyError` where a condition cannot be evaluated, in error mode propagate.
    """
    on_span = Conditions(config.span, "span", config.error_mode)
    on_event = Conditions(config.spanevent, "spanevent", config.error_mode)

    def meets(view: View) -> bool:
        for resource, scope, span in spans_in_context(view.trace.batch):
            if on_span((resource, scope, span)):
                return True
            if config.spanevent and any(on_event((resource, scope, span, event)) for event in span.events):
                return True
        return False

    def policy(view: View, _live: bool) -> Outcome:
        try:
            return _vote(meets(view))
        except OttlError as error:
            raise PolicyError(str(error)) from error

    return policy
