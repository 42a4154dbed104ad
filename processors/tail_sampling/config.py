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
    """How many decisions are remembered for late spans. The latest 100,000 outlive a restart."""

    sampled_cache_size: Count = Field(
        default=0, description="How many traces are remembered as sampled, at least 100,000; 0 means that many."
    )
    non_sampled_cache_size: Count = Field(
        default=0, description="How many traces are remembered as not sampled, at least 100,000; 0 means that many."
    )


class TailSamplingConfig(ConfigModel):
    """Which traces are kept once they are assembled, and how long they are assembled.

    What is pending may take a third of the memory of the container or else of the machine, at least 128 MiB; beyond
    that it is as with `num_traces`.
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

    policies: list[PolicyConfig] = Field(
        min_length=1, description="The policies, each with a name of its own; a trace that none of them samples goes."
    )
    decision_wait: Duration = Field(
        default=30.0, description="How long after its first span a trace is decided at the latest."
    )
    decision_wait_after_root_received: Duration = Field(
        default=0.0,
        description="How long after its root span a trace is decided, if that is earlier. "
        "0: after decision_wait alone.",
    )
    num_traces: int = Field(
        default=50_000, gt=0, description="Most traces that wait for a decision; beyond it the oldest is evicted."
    )
    block_on_overflow: bool = Field(
        default=False,
        description="Evict no trace when num_traces is reached; what comes then waits in the journal.",
    )
    on_eviction: Literal["decide", "drop"] = Field(
        default="decide",
        description="What becomes of a trace that is evicted: it is decided early, or dropped as in the Collector. "
        "Ours.",
    )
    expected_new_traces_per_sec: Count = Field(default=0, description="Sizes a table in the Collector; no effect here.")
    decision_cache: DecisionCacheConfig = Field(
        default=DecisionCacheConfig(), description="How many decisions are remembered for spans that come late."
    )
    sample_on_first_match: bool = Field(
        default=False, description="Ask no more policies once one has sampled the trace."
    )
    drop_pending_traces_on_shutdown: bool = Field(
        default=False,
        description="Drops what is pending in the Collector; no effect here, where it is decided after the next start.",
    )
    maximum_trace_size_bytes: Count = Field(
        default=0,
        description="Most bytes of one trace; spans beyond are dropped and counted in the trace's tag "
        "spanbridge.truncated_spans. The Collector drops the whole trace. 0: no limit.",
    )
    maximum_trace_spans: Count = Field(
        default=0, description="Most spans of one trace; those beyond are dropped. Ours. 0: no limit."
    )
    sampling_strategy: Literal["trace-complete", "span-ingest"] = Field(
        default="trace-complete",
        description="`trace-complete` decides when a trace has waited; `span-ingest` also as its spans come in, as "
        "soon as no further span can change the decision.",
    )
    num_shards: int = Field(default=1, ge=1, le=256, description="Divides the traces in the Collector; no effect here.")
    tail_storage: str | None = Field(
        default=None, description="An extension to hold pending traces in; refused, as they are in the journal already."
    )

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
    """Return whether a policy is a limiter, or has a bound that a trace may outgrow (as the Collector, PR #47476)."""
    if isinstance(policy, LatencyPolicyConfig):
        return policy.latency.upper_threshold_ms > 0
    if isinstance(policy, SpanCountPolicyConfig):
        return policy.span_count.max_spans > 0
    return policy.type in _STATEFUL


def _parts(policy: PolicyConfig) -> list[PolicyConfig]:
    """Return a policy and all the policies inside it."""
    return [policy, *(part for sub in sub_policies(policy) for part in _parts(sub))]


def sub_policies(policy: PolicyConfig) -> list[SubPolicyConfig]:
    """Return the policies inside a policy; an empty list for most."""
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
