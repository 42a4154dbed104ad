"""The configuration of `tail_sampling`: the Collector's keys and defaults, and three of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from spanbridge.processors.settings import ConfigModel, Duration
from spanbridge.processors.tail_sampling.policies.config import (
    AndPolicyConfig,
    CompositePolicyConfig,
    Count,
    DropPolicyConfig,
    LatencyPolicyConfig,
    NotPolicyConfig,
    PolicyConfig,
    SpanCountPolicyConfig,
    SubPolicyConfig,
    refuse_duplicates,
)

_STATEFUL = ("rate_limiting", "bytes_limiting", "experiment_quota")


class DecisionCacheConfig(ConfigModel):
    """How many decisions are remembered for late spans, of each kind: at least 100,000.

    The latest 100,000 of both kinds are remembered over a restart.
    """

    sampled_cache_size: Count = 0
    non_sampled_cache_size: Count = 0


class TailSamplingConfig(ConfigModel):
    """Which traces are kept once they are assembled, and how long they are assembled.

    Ours are `maximum_trace_spans` (beside `maximum_trace_size_bytes`: spans beyond it are not kept, 0 for no cap) and
    `on_eviction` (what becomes of the oldest trace when `num_traces` is reached: the Collector drops it). What is
    pending may take a third of the memory there is, of the container or else of the machine, at least 128 MiB; beyond
    that it is as with `num_traces`.
    `expected_new_traces_per_sec` and `num_shards` change nothing here; they are read so that a Collector's file loads.
    """

    NOTES: ClassVar[Mapping[str, str]] = {
        "drop_pending_traces_on_shutdown": (
            "nothing is dropped; what is pending stays in the journal and is decided after the next start."
        ),
        "maximum_trace_size_bytes": (
            "a larger trace is not dropped; spans beyond are, and its tag spanbridge.truncated_spans says how many."
        ),
        "num_shards": "one sampler decides on all traces of a pipeline; nothing is divided.",
    }

    policies: list[PolicyConfig] = Field(min_length=1)
    decision_wait: Duration = 30.0
    decision_wait_after_root_received: Duration = 0.0
    num_traces: int = Field(default=50_000, gt=0)
    block_on_overflow: bool = False
    on_eviction: Literal["decide", "drop"] = "decide"
    expected_new_traces_per_sec: Count = 0
    decision_cache: DecisionCacheConfig = DecisionCacheConfig()
    sample_on_first_match: bool = False
    drop_pending_traces_on_shutdown: bool = False
    maximum_trace_size_bytes: Count = 0
    maximum_trace_spans: Count = 0
    sampling_strategy: Literal["trace-complete", "span-ingest"] = "trace-complete"
    num_shards: int = Field(default=1, ge=1, le=256)
    tail_storage: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse_duplicates([policy.name for policy in self.policies])
        if self.tail_storage is not None:
            raise ValueError("pending traces are in the journal already; leave tail_storage out")
        if self.sampling_strategy == "span-ingest":
            for policy in self.policies:
                _refuse_stateful(policy)
        return self


def _refuse_stateful(policy: PolicyConfig) -> None:
    stateful = next((part for part in _parts(policy) if _is_stateful(part)), None)
    if stateful is not None:
        raise ValueError(
            f"policy {policy.name!r} ({stateful.type}) may change its mind as spans come in; "
            "use sampling_strategy trace-complete, or leave out limits and upper bounds"
        )


def _is_stateful(policy: PolicyConfig) -> bool:
    """As the Collector has it (PR #47476): a limiter, or a bound that a trace may outgrow."""
    if isinstance(policy, LatencyPolicyConfig):
        return policy.latency.upper_threshold_ms > 0
    if isinstance(policy, SpanCountPolicyConfig):
        return policy.span_count.max_spans > 0
    return policy.type in _STATEFUL


def _parts(policy: PolicyConfig) -> list[PolicyConfig]:
    """A policy and all that it is made of."""
    return [policy, *(part for sub in sub_policies(policy) for part in _parts(sub))]


def sub_policies(policy: PolicyConfig) -> list[SubPolicyConfig]:
    """The policies inside a policy; empty for most."""
    match policy:
        case AndPolicyConfig():
            return policy.and_.and_sub_policy
        case NotPolicyConfig():
            return [policy.not_.not_sub_policy]
        case DropPolicyConfig():
            return policy.drop.drop_sub_policy
        case CompositePolicyConfig():
            return policy.composite.composite_sub_policy
        case _:
            return []
