"""Step 4 from YAML to running code: what the processors of one pipeline come to, in the order of the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spanbridge.collector.config.components import component_of
from spanbridge.collector.exporters import SendLimits
from spanbridge.collector.flow.assembly import AssemblyLimits
from spanbridge.collector.flow.head import HeadStage
from spanbridge.collector.flow.processors.stages import Adjust, FlowContext, FlowStages
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.flow.trace_stage import TraceStage
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.settings import ConfigModel
from spanbridge.processors.stages import Builder, Stages

if TYPE_CHECKING:
    from spanbridge.collector.flow.processors.tail_sampling import TailSampling


def _usual(limits: SendLimits) -> SendLimits:
    return limits


@dataclass(slots=True)
class PipelineStages:
    """The stages of one pipeline, and how the flow around them works.

    `telemetry`, `released_traces` and `environ` are what processors are given. `head` stages see one request, `trace`
    stages one whole trace. `send_limits` makes an exporter's usual limits those of the pipeline. `background` is to be
    entered while the pipeline runs.
    """

    telemetry: Telemetry
    released_traces: ReleasedTraces
    environ: Mapping[str, str]
    head: list[HeadStage] = field(default_factory=list)
    trace: list[TraceStage] = field(default_factory=list)
    assembly: AssemblyLimits = field(default_factory=AssemblyLimits)
    sampling: TailSampling | None = None
    send_limits: Adjust = _usual
    background: list[AbstractAsyncContextManager[None]] = field(default_factory=list)


def add_stages(made: PipelineStages, processors: Iterable[tuple[str, ConfigModel]]) -> PipelineStages:
    """Return `made` with the stages of processors, given as (id, config) in the order of the file.

    Raises:
        ConfigError: what a section names can't be used.
    """
    for component_id, config in processors:
        build: Builder = component_of("processor", component_id).build
        context = FlowContext(
            component_id, metrics=made.telemetry.components, environ=made.environ, released_traces=made.released_traces
        )
        stages = build(config, context)
        _add(made, component_id, stages)
        if isinstance(stages, FlowStages):
            _steer(made, stages)
    return made


def _add(made: PipelineStages, component_id: str, stages: Stages) -> None:
    if stages.head is not None:
        made.head.append(HeadStage(component_id, stages.head, observes=stages.observes))
    if stages.trace is not None:
        made.trace.append(TraceStage(component_id, stages.trace, counts=stages.head is None))


def _steer(made: PipelineStages, stages: FlowStages) -> None:
    """What is said last counts, but for the assembly: wherever tail_sampling stands, it does what groupbytrace does."""
    if stages.assembly is not None and (stages.sampling is not None or made.sampling is None):
        made.assembly = stages.assembly
    made.sampling = stages.sampling or made.sampling
    made.send_limits = stages.send_limits or made.send_limits
    if stages.background is not None:
        made.background.append(stages.background)
