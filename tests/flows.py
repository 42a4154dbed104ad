"""A pipeline without its sockets: head, journal, assembly, trace stage and delivery, joined as the service does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry

from spanbridge.collector.config.components import component_of
from spanbridge.collector.exporters import SerializedTrace
from spanbridge.collector.flow.assembly import Assembly
from spanbridge.collector.flow.backoff import Backoff
from spanbridge.collector.flow.delivery import Delivery, DeliveryOptions
from spanbridge.collector.flow.flow import Flow, FlowOptions
from spanbridge.collector.flow.head import Head
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.flow.send_queue import SendLimits
from spanbridge.collector.journal import Journal
from spanbridge.collector.journal.memory import MemoryJournal
from spanbridge.collector.service.stages import Plan, add_stages
from spanbridge.collector.telemetry.metrics import Telemetry, render
from spanbridge.processors.types import Batch, Context, Trace, spans
from tests.fakes import MemoryExporter
from tests.polling import until


class Shelf(MemoryExporter):
    """A `MemoryExporter` that keeps the traces themselves too, in the order in which they came."""

    def __init__(self, verdict=lambda traces: None) -> None:
        super().__init__(verdict)
        self.traces: list[Trace] = []

    def send(self, traces: Sequence[SerializedTrace]) -> int:
        rejected = super().send(traces)
        self.traces += [trace.decode() for trace in traces]
        return rejected

    def of(self, trace_id: bytes) -> list[Trace]:
        """The parts of a trace."""
        return [trace for trace in self.traces if trace.trace_id == trace_id]

    def names(self, trace_id: bytes) -> set[str]:
        """The names of the spans of a trace."""
        return {span.name for trace in self.of(trace_id) for span in spans(trace.batch)}


@dataclass
class Running:
    """A flow that runs; `journal` may outlive it."""

    plan: Plan
    flow: Flow
    assembly: Assembly
    head: Head
    journal: Journal
    shelf: Shelf

    async def put(self, *batches: Batch, read: bool = True, **context: str) -> None:
        """Take requests in, and wait until they are read from the journal."""
        for batch in batches:
            await self.head.accept(Batch.FromString(batch.SerializeToString()), Context(**context))
        if read:
            await until(self.caught_up, what="the assembly")

    def caught_up(self) -> bool:
        """Whether the flow has read all there is."""
        return self.journal.state().rows <= self.flow._open_rows.count

    def sample(self, name: str, **labels: str) -> float:
        """The sum of the samples of a metric with these labels."""
        samples = (sample for family in self.plan.telemetry.registry.collect() for sample in family.samples)
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    def metrics(self) -> list[str]:
        """/metrics, by lines."""
        return render(self.plan.telemetry.registry, total_suffix=False).decode().splitlines()

    async def settled(self) -> None:
        """Wait until nothing is left to do."""
        await until(lambda: not self.journal.state().rows, what="an empty journal")


def configured(processors: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(id, config) of processors as they stand in the YAML."""
    for component_id, section in processors.items():
        yield component_id, component_of("processor", component_id).config.model_validate(section or {})


@asynccontextmanager
async def running(
    processors: Mapping[str, Any],
    *,
    journal: Journal | None = None,
    shelf: Shelf | None = None,
    memory: int = 64 << 20,
    shutdown_timeout: float = 5.0,
) -> AsyncIterator[Running]:
    """A pipeline of these processors; when the block ends it is drained as at SIGTERM."""
    journal = journal or MemoryJournal()
    shelf = shelf or Shelf()
    telemetry = Telemetry(CollectorRegistry())
    plan = add_stages(Plan(telemetry, ReleasedTraces(journal.released()), {}), list(configured(processors)))
    assembly = Assembly(plan.assembly, plan.remembered)
    options = FlowOptions(memory, plan.sampling)
    flow = Flow(
        "traces", journal, assembly, plan.trace, telemetry=telemetry, released_traces=plan.remembered, options=options
    )
    backoff = Backoff(initial_interval=0.01, max_interval=0.05)
    delivery = DeliveryOptions(num_consumers=2, room=64, limits=SendLimits(), backoff=backoff)
    flow.deliver_to(Delivery("memory", shelf, delivery, telemetry, flow.settled))
    async with flow.running(shutdown_timeout):
        yield Running(plan, flow, assembly, Head(plan.head, journal, telemetry), journal, shelf)
