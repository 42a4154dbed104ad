"""Policies that admit up to a rate: rate_limiting, bytes_limiting, and experiment_quota (ours).

Source: contrib's internal/sampling/{rate,bytes}_limiting.go.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeAlias

from spanbridge.processors.tail_sampling.limits import Limit, TokenBucket
from spanbridge.processors.tail_sampling.outcome import Ballot, Outcome, Vote
from spanbridge.processors.tail_sampling.policies.config import (
    BytesLimitingConfig,
    ExperimentQuotaConfig,
    RateLimitingConfig,
)
from spanbridge.processors.tail_sampling.policies.policy import Policy
from spanbridge.processors.tail_sampling.view import View

Clock: TypeAlias = Callable[[], float]
"""Seconds, of any epoch."""

_BURST_FACTOR: Final = 2
_MAX_EXPERIMENTS: Final = 10_000


def admit(limit: Limit, amount: int, now: Clock, *, live: bool) -> Ballot:
    """Ask a limit for an amount and return the answer; LIMITED, and nothing is spent, if it does not count."""
    admitted = live and limit.take(amount, now())
    return Ballot(Vote.ADMITTED if admitted else Vote.LIMITED, limit)


def rate_limiting(config: RateLimitingConfig, now: Clock) -> Policy:
    """Return a policy that admits spans up to a rate.

    A trace of more spans than the burst capacity never passes.
    """
    burst = config.burst_capacity or _BURST_FACTOR * config.spans_per_second
    bucket = TokenBucket(config.spans_per_second, burst, now())
    return lambda view, live: admit(bucket, len(view.spans), now, live=live)


def bytes_limiting(config: BytesLimitingConfig, now: Clock) -> Policy:
    """Return a policy that admits bytes of protobuf up to a rate.

    A trace larger than the burst capacity never passes.
    """
    burst = config.burst_capacity or _BURST_FACTOR * config.bytes_per_second
    bucket = TokenBucket(config.bytes_per_second, burst, now())
    return lambda view, live: admit(bucket, view.size, now, live=live)


def experiment_quota(config: ExperimentQuotaConfig, now: Clock) -> Policy:
    """Return a policy that admits traces of each experiment up to a number a minute, which may come at once."""
    buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def bucket_of(experiment: str) -> TokenBucket:
        bucket = buckets.get(experiment)
        if bucket is None:
            bucket = buckets[experiment] = TokenBucket(config.traces_per_minute / 60, config.traces_per_minute, now())
        buckets.move_to_end(experiment)
        if len(buckets) > _MAX_EXPERIMENTS:
            buckets.popitem(last=False)
        return bucket

    def policy(view: View, live: bool) -> Outcome:
        return admit(bucket_of(_experiment(view, config.key)), 1, now, live=live)

    return policy


def _experiment(view: View, key: str) -> str:
    if key:
        return next(iter(view.strings(key)), "")
    return view.trace.context.experiment_id or view.trace.context.experiment_name
