"""Step 5 from YAML to running code: a pipeline is built and started, from its exporters back to its head.

Receivers come last, when all that they feed is there.
"""

from __future__ import annotations

import os

from spanbridge.collector.config.components import component_of, has_role
from spanbridge.collector.config.pipelines import PipelineConfig
from spanbridge.collector.exporters import Builder as ExporterBuilder
from spanbridge.collector.flow.assembly import Assembly
from spanbridge.collector.flow.backoff import Backoff
from spanbridge.collector.flow.delivery import Delivery, DeliveryOptions
from spanbridge.collector.flow.flow import Flow, FlowOptions
from spanbridge.collector.flow.head import Head, HeadStage, fan_out
from spanbridge.collector.flow.processors.log_selection import LogSelection
from spanbridge.collector.flow.processors.memory_limiter import MIB, total_memory
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.journal import Journal
from spanbridge.collector.receivers import Builder as ReceiverBuilder
from spanbridge.collector.receivers import ReceiverContext
from spanbridge.collector.service.journals import start_journal
from spanbridge.collector.service.service import Service
from spanbridge.collector.service.stages import PipelineStages, add_stages

MEMORY = 128 * MIB
"""Bytes of spans that one pipeline holds in memory; what is more waits in its journal."""
SAMPLING_SHARE = 3
"""With tail_sampling it may hold this part of the memory there is, if that is more: pending traces are bounded by
num_traces in the first place, and half a million spans of 0.8 KB should fit where there is 1.2 GiB. Resident they take
half as much again."""


async def start_traces(service: Service, pipeline: PipelineConfig) -> None:
    """Start a traces pipeline: journal, flow and deliveries; its receivers are started later.

    Raises:
        ConfigError: what a section names can't be used.
    """
    journal = await start_journal(service, pipeline)
    stages = _stages(service, pipeline, ReleasedTraces(journal.released()))
    assembly = Assembly(stages.assembly, stages.released_traces)
    flow = Flow(
        pipeline.id,
        journal,
        assembly,
        stages.trace,
        telemetry=service.telemetry,
        released_traces=stages.released_traces,
        options=_flow_options(service, pipeline, stages),
    )
    for exporter_id in pipeline.exporters:
        flow.deliver_to(_delivery(service, exporter_id, stages, flow))
    _watch(service, pipeline, journal, assembly)
    if stages.sampling is not None:
        stages.sampling.watch(lambda: len(assembly))
    await service.stack.enter_async_context(flow.running(service.config.service.shutdown_timeout))
    await _add_head(service, pipeline, stages, journal)


async def start_logs(service: Service, pipeline: PipelineConfig) -> None:
    """Start a logs pipeline, once those of traces are there.

    Log records go the way of the traces that they belong to: into the journal of the pipeline that ends alike.

    Raises:
        ConfigError: what a section names can't be used.
    """
    others = service.config.pipelines.values()
    partner = next(other for other in others if other.signal == "traces" and _end_alike(other, pipeline))
    stages = _stages(service, pipeline, ReleasedTraces())
    redactions = _redactions(partner, besides=pipeline)
    add_stages(stages, [(id_, service.config.processors[id_]) for id_ in redactions])
    stages.head.insert(0, HeadStage("genai", LogSelection(service.telemetry)))
    await _add_head(service, pipeline, stages, service.journals[partner.id])


async def start_receiver(service: Service, receiver_id: str) -> None:
    """Start a receiver that feeds the pipelines there are.

    Raises:
        ConfigError: a port is taken, a file that the section names can't be used, or only logs pipelines name it.
    """
    traces = service.accepts.get((receiver_id, "traces"))
    logs = service.accepts.get((receiver_id, "logs"))
    context = ReceiverContext(
        receiver_id,
        service.telemetry,
        traces=fan_out(traces or []),
        logs=fan_out(logs) if logs else None,
        authenticator=service.extension,
    )
    build: ReceiverBuilder = component_of("receiver", receiver_id).build
    for server in build(service.config.receivers[receiver_id], context):
        await service.stack.enter_async_context(server)


def _end_alike(one: PipelineConfig, other: PipelineConfig) -> bool:
    return bool(set(one.exporters) & set(other.exporters))


def _redactions(partner: PipelineConfig, *, besides: PipelineConfig) -> list[str]:
    """What is masked in spans is masked in the log records that end up in them, even if their pipeline is silent."""
    ids = [id_ for id_ in partner.processors if has_role("processor", id_, "redactor")]
    return [id_ for id_ in ids if id_ not in besides.processors]


def _stages(service: Service, pipeline: PipelineConfig, released_traces: ReleasedTraces) -> PipelineStages:
    stages = PipelineStages(service.telemetry, released_traces, os.environ)
    return add_stages(stages, [(id_, service.config.processors[id_]) for id_ in pipeline.processors])


def _flow_options(service: Service, pipeline: PipelineConfig, stages: PipelineStages) -> FlowOptions:
    memory = MEMORY if stages.sampling is None else max(MEMORY, total_memory() // SAMPLING_SHARE)
    others = service.config.pipelines.values()
    takes_logs = any(other.signal == "logs" and _end_alike(other, pipeline) for other in others)
    return FlowOptions(memory, stages.sampling, takes_logs)


async def _add_head(service: Service, pipeline: PipelineConfig, stages: PipelineStages, journal: Journal) -> None:
    for background in stages.background:
        await service.stack.enter_async_context(background)
    head = Head(stages.head, journal, service.telemetry)
    for receiver in pipeline.receivers:
        service.accepts.setdefault((receiver, pipeline.signal), []).append(head.accept)


def _delivery(service: Service, exporter_id: str, stages: PipelineStages, flow: Flow) -> Delivery:
    build: ExporterBuilder = component_of("exporter", exporter_id).build
    made = build(service.config.exporters[exporter_id], os.environ)
    retry, limits = made.retry_on_failure, stages.send_limits(made.limits)
    backoff = Backoff(retry.initial_interval, retry.max_interval, retry.multiplier, retry.randomization_factor)
    options = DeliveryOptions(made.num_consumers, 4 * limits.max_spans, limits, backoff)
    return Delivery(exporter_id, made.exporter, options, service.telemetry, flow.settled)


def _watch(service: Service, pipeline: PipelineConfig, journal: Journal, assembly: Assembly) -> None:
    """Gauges that are read when they are scraped."""
    telemetry = service.telemetry
    telemetry.journal_bytes.labels(pipeline.id).set_function(lambda: journal.state().bytes)
    telemetry.journal_capacity.labels(pipeline.id).set_function(lambda: journal.state().capacity)
    telemetry.journal_oldest.labels(pipeline.id).set_function(lambda: journal.state().oldest_age)
    telemetry.journal_aside.labels(pipeline.id).set_function(lambda: journal.state().dead_letters)
    telemetry.assembling_traces.labels(pipeline.id).set_function(lambda: len(assembly))
    telemetry.assembling_spans.labels(pipeline.id).set_function(lambda: assembly.spans)
    for exporter in pipeline.exporters:
        telemetry.queue_size.labels(exporter, "traces").set_function(lambda: journal.state().bytes)
        telemetry.queue_capacity.labels(exporter, "traces").set_function(lambda: journal.state().capacity)
