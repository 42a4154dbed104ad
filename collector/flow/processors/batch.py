"""`batch`: how many spans go into one delivery, after the journal (the Collector's processor/batchprocessor)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from spanbridge.collector.exporters import SendLimits
from spanbridge.collector.flow.processors.stages import FlowStages
from spanbridge.processors.settings import ConfigModel, Duration
from spanbridge.processors.stages import BuildContext

if TYPE_CHECKING:
    from typing import Self

_NEVER_SHARED = "traces of different experiment, run or resource never share a batch; other metadata is not kept."
_STEERS = "steers delivery, after the journal: whole traces are batched, a trace is never split and no sender waits."


class BatchConfig(ConfigModel):
    """`batch`: nothing is batched before the journal, wherever the processor stands."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "timeout": _STEERS,
        "send_batch_size": _STEERS,
        "send_batch_max_size": _STEERS,
        "metadata_keys": _NEVER_SHARED,
        "metadata_cardinality_limit": "there is no batcher for each metadata value, so nothing to limit.",
    }

    send_batch_size: NonNegativeInt = Field(
        default=8192, description="How many spans of whole traces a delivery waits for, at most for timeout."
    )
    timeout: Duration = Field(
        default=0.2, description="How long a delivery may wait for send_batch_size spans; 0 sends at once."
    )
    send_batch_max_size: NonNegativeInt = Field(
        default=0,
        description="The most spans of one delivery, but for a trace that is larger: a trace is never split. 0 leaves "
        "it to the exporter.",
    )
    metadata_keys: tuple[str, ...] = Field(default=(), description="Without effect here: " + _NEVER_SHARED)
    metadata_cardinality_limit: NonNegativeInt = Field(
        default=1000, description="Without effect here: there is no batcher for each metadata value."
    )

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


def build(config: BatchConfig, _context: BuildContext) -> FlowStages:
    """Return no stage, but how delivery gathers traces."""

    def send_limits(usual: SendLimits) -> SendLimits:
        return replace(
            usual,
            max_spans=config.send_batch_max_size or max(usual.max_spans, config.send_batch_size),
            send_batch_size=config.send_batch_size,
            timeout=config.timeout,
        )

    return FlowStages(send_limits=send_limits)
