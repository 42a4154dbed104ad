"""Sections of the processors that steer the flow and look into no span: memory_limiter, batch and groupbytrace.

Keys and defaults are the Collector's (internal/memorylimiter, processor/batchprocessor, groupbytraceprocessor). In
every config model `NOTES` says, key by key, what a key means here where the Collector means something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from spanbridge.processors.settings import ConfigModel, Duration

if TYPE_CHECKING:
    from typing import Self

_COLLECTED = "a collection is forced above the hard limit alone, as often as min_gc_interval_when_hard_limited says."
_NEVER_SHARED = "traces of different experiment, run or resource never share a batch; other metadata is not kept."
_STEERS = "steers delivery, after the journal: whole traces are batched, a trace is never split and no sender waits."


class MemoryLimiterConfig(ConfigModel):
    """`memory_limiter`: sizes in MiB or in percent of the memory there is; `limit_mib` wins."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "min_gc_interval_when_soft_limited": _COLLECTED,
        "max_gc_interval_when_soft_limited": _COLLECTED,
        "max_gc_interval_when_hard_limited": _COLLECTED,
    }

    check_interval: Duration = 0.0
    limit_mib: NonNegativeInt = 0
    spike_limit_mib: NonNegativeInt = 0
    limit_percentage: int = Field(default=0, ge=0, le=100)
    spike_limit_percentage: int = Field(default=0, ge=0, le=100)
    min_gc_interval_when_soft_limited: Duration = 10.0
    min_gc_interval_when_hard_limited: Duration = 0.0
    max_gc_interval_when_soft_limited: Duration = 30.0
    max_gc_interval_when_hard_limited: Duration = 30.0

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.check_interval == 0:
            raise ValueError('check_interval must be greater than zero; write for example "1s"')
        if not self.limit_mib and not self.limit_percentage:
            raise ValueError("limit_mib or limit_percentage must be greater than zero")
        if self.limit_mib and self.spike_limit_mib >= self.limit_mib:
            raise ValueError("spike_limit_mib must be smaller than limit_mib")
        if self.limit_percentage and self.spike_limit_percentage >= self.limit_percentage:
            raise ValueError("spike_limit_percentage must be smaller than limit_percentage")
        if self.min_gc_interval_when_soft_limited < self.min_gc_interval_when_hard_limited:
            raise ValueError(
                "min_gc_interval_when_soft_limited must not be smaller than min_gc_interval_when_hard_limited"
            )
        return self


class BatchConfig(ConfigModel):
    """`batch`: how many spans go into one delivery and how long it may wait for them; `timeout` 0 sends at once.

    Nothing is batched before the journal, wherever the processor stands. `send_batch_max_size` 0 means no bound.
    """

    NOTES: ClassVar[Mapping[str, str]] = {
        "timeout": _STEERS,
        "send_batch_size": _STEERS,
        "send_batch_max_size": _STEERS,
        "metadata_keys": _NEVER_SHARED,
        "metadata_cardinality_limit": "there is no batcher for each metadata value, so nothing to limit.",
    }

    send_batch_size: NonNegativeInt = 8192
    timeout: Duration = 0.2
    send_batch_max_size: NonNegativeInt = 0
    metadata_keys: tuple[str, ...] = ()
    metadata_cardinality_limit: NonNegativeInt = 1000

    @field_validator("metadata_keys")
    @classmethod
    def _no_key_twice(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        lower = [key.lower() for key in keys]
        for key in lower:
            if lower.count(key) > 1:
                raise ValueError(f'duplicate entry in metadata_keys: "{key}" (case-insensitive)')
        return keys

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if 0 < self.send_batch_max_size < self.send_batch_size:
            raise ValueError("send_batch_max_size must be greater than or equal to send_batch_size")
        return self


class GroupByTraceConfig(ConfigModel):
    """`groupbytrace`: when the spans of a trace are taken to be all there; seconds.

    A trace goes out `wait_duration_after_root_received` after its root has ended and nothing more has come, at the
    latest `wait_duration` after its first span. That one is 30 s here, as in tail_sampling: the Collector's 1 s would
    tear most traces of language models apart.
    """

    NOTES: ClassVar[Mapping[str, str]] = {"num_workers": "one worker assembles all traces of a pipeline."}

    wait_duration: Duration = 30.0
    wait_duration_after_root_received: Duration = 1.0
    num_traces: PositiveInt = 1_000_000
    num_workers: PositiveInt = 1
    discard_orphans: Literal[False] = False
    store_on_disk: Literal[False] = False

    @field_validator("discard_orphans", "store_on_disk", mode="before")
    @classmethod
    def _as_in_the_collector(cls, value: object) -> object:
        if value is True:
            raise ValueError(
                "is not implemented, in the Collector neither; leave it out (the journal is on disk anyway)"
            )
        return value
