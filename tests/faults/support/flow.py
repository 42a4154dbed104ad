"""A journal, a flow and a delivery with a destination of the test's choice, in this process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from spanbridge.collector.exporters import Exporter
from spanbridge.collector.flow.assembly import Assembly, AssemblyLimits
from spanbridge.collector.flow.backoff import Backoff
from spanbridge.collector.flow.delivery import Delivery, DeliveryOptions
from spanbridge.collector.flow.flow import Flow, FlowOptions
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.flow.send_queue import SendLimits
from spanbridge.collector.journal import DeadLetter, Entry, Settlement
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.types import Batch, Context, spans

FAST = Backoff(initial_interval=0.002, max_interval=0.02)
Ids = set[tuple[bytes, bytes]]


def ids(batch: Batch) -> Ids:
    return {(span.trace_id, span.span_id) for span in spans(batch)}


class Journal(SqliteJournal):
    """The real one, which also tells what was set aside."""

    def __init__(self, path: Path, **options) -> None:
        super().__init__(path, **options)
        self.aside: list[DeadLetter] = []

    async def settle(self, settlement: Settlement) -> None:
        self.aside += settlement.dead_letters
        await super().settle(settlement)

    def aside_ids(self) -> Ids:
        return {found for entry in self.aside for found in ids(Batch.FromString(entry.payload))}


class Ground:
    """A running pipeline from the journal on; `put` is what a receiver's OK waits for."""

    def __init__(self, journal: Journal, telemetry: Telemetry) -> None:
        self.journal = journal
        self.telemetry = telemetry
        self.acknowledged: Ids = set()

    async def put(self, batch: Batch, context: Context | None = None) -> None:
        await self.journal.put(Entry(batch.SerializeToString(), context or Context()))
        self.acknowledged |= ids(batch)

    def settled(self) -> bool:
        return self.journal.state().rows == 0

    def metric(self, name: str, **labels: str) -> float:
        return self.telemetry.registry.get_sample_value(name, {"exporter": "it", **labels}) or 0.0


@asynccontextmanager
async def flowing(folder: Path, exporter: Exporter, *, shutdown: float = 0.0, stages=(), **journal):
    """A whole flow; traces are handed on 20 ms after their root came."""
    telemetry = Telemetry(CollectorRegistry())
    async with Journal(folder / "journal.db", **journal) as opened:
        released_traces = ReleasedTraces(opened.released())
        assembly = Assembly(AssemblyLimits(wait_duration=1.0, wait_duration_after_root_received=0.02), released_traces)
        flow = Flow(
            "traces",
            opened,
            assembly,
            stages,
            telemetry=telemetry,
            released_traces=released_traces,
            options=FlowOptions(memory=16 << 20),
        )
        options = DeliveryOptions(num_consumers=4, limits=SendLimits(max_traces=8), backoff=FAST)
        flow.deliver_to(Delivery("it", exporter, options, telemetry, flow.settled))
        async with flow.running(shutdown):
            yield Ground(opened, telemetry)
