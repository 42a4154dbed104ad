"""`groupbytrace`: when the spans of a trace are taken to be all there (contrib processor/groupbytraceprocessor)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt, field_validator

from spanbridge.collector.flow.assembly import AssemblyLimits
from spanbridge.collector.flow.processors.stages import FlowStages
from spanbridge.processors.settings import ConfigModel, Duration
from spanbridge.processors.stages import BuildContext

_AS_THERE = "Only false, as in the Collector, where it is not implemented either."


class GroupByTraceConfig(ConfigModel):
    """`groupbytrace`: a trace goes out when its root has ended and nothing more comes, or when it has waited enough."""

    NOTES: ClassVar[Mapping[str, str]] = {"num_workers": "one worker assembles all traces of a pipeline."}

    wait_duration: Duration = Field(
        default=30.0,
        description="The longest wait from a trace's first span on. The default is that of tail_sampling: the "
        "Collector's 1s would tear most traces of language models apart.",
    )
    wait_duration_after_root_received: Duration = Field(
        default=1.0,
        description="How long to wait after a trace's root has ended and nothing more has come. The Collector's "
        "processor has no such key.",
    )
    num_traces: PositiveInt = Field(
        default=1_000_000, description="How many traces may wait at once; beyond it the oldest goes before its time."
    )
    num_workers: PositiveInt = Field(
        default=1, description="Without effect here: one worker assembles all traces of a pipeline."
    )
    discard_orphans: Literal[False] = Field(default=False, description=_AS_THERE)
    store_on_disk: Literal[False] = Field(
        default=False, description=_AS_THERE + " The journal is on disk in any case, if it has a storage."
    )

    @field_validator("discard_orphans", "store_on_disk", mode="before")
    @classmethod
    def _as_in_the_collector(cls, value: object) -> object:
        if value is True:
            raise ValueError(
                "is not implemented, in the Collector neither; leave it out (the journal is on disk anyway)"
            )
        return value


def build(config: GroupByTraceConfig, _context: BuildContext) -> FlowStages:
    """Return no stage, but when a trace is whole. Beside tail_sampling, whose own limits count, it changes nothing."""
    return FlowStages(
        assembly=AssemblyLimits(
            wait_duration=config.wait_duration,
            wait_duration_after_root_received=config.wait_duration_after_root_received,
            num_traces=config.num_traces,
        )
    )
