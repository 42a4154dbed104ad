"""What the processors that steer the flow are built with, and what they come to besides stages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from spanbridge.collector.exporters import SendLimits
from spanbridge.collector.flow.assembly import AssemblyLimits
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.processors.stages import BuildContext, Stages

if TYPE_CHECKING:
    from spanbridge.collector.flow.processors.tail_sampling import TailSampling
    from spanbridge.collector.telemetry.component_metrics import ComponentMetrics

Adjust: TypeAlias = Callable[[SendLimits], SendLimits]
"""From an exporter's usual limits to those of the pipeline."""


@dataclass(frozen=True, slots=True)
class FlowContext(BuildContext):
    """A `BuildContext` and the pipeline's memory of the traces that were handed on."""

    metrics: ComponentMetrics
    released_traces: ReleasedTraces


@dataclass(frozen=True, slots=True)
class FlowStages(Stages):
    """Stages, and how the flow around them works. None leaves a thing to others.

    `assembly` says when a trace is whole, `sampling` follows the traces in the flow, `send_limits` says how delivery
    gathers, `background` is entered while the pipeline runs.
    """

    assembly: AssemblyLimits | None = None
    sampling: TailSampling | None = None
    send_limits: Adjust | None = None
    background: AbstractAsyncContextManager[None] | None = None
