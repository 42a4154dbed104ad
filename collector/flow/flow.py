"""The flow: from the journal to delivery."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError

from spanbridge.collector.flow.assembly import Assembly, Pending
from spanbridge.collector.flow.delivery import Delivery
from spanbridge.collector.flow.fragments import Piece, pieces
from spanbridge.collector.flow.head import PORTION, Stage
from spanbridge.collector.flow.late_logs import Recent
from spanbridge.collector.flow.pausable_clock import ReadingTime
from spanbridge.collector.flow.released_traces import Remembered
from spanbridge.collector.flow.settlement import Ledger
from spanbridge.collector.journal import Journal, Row, SetAside
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.types import Trace, TraceProcessor, span_count

if TYPE_CHECKING:
    from spanbridge.collector.flow.processors.tail_sampling import TailSampling

log = logging.getLogger(__name__)

TRUNCATED_TAG = "spanbridge.truncated_spans"
"""On a trace beyond its cap: how many spans of how many were dropped."""
LARGE = 8
"""A trace that holds more than this part of a flow's memory is handed on as far as it has come."""
LARGE_ROW = 1 << 20
"""Bytes of a row that takes some ms to be cut into traces."""
TICK = 0.05
"""How often, in seconds, the assembly is asked what is due."""
TURN = 0.002
"""Seconds of work on traces at a time, while senders wait for OK."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class FlowOptions:
    """`memory` bounds the bytes of spans held in a flow and its deliveries; what is more waits in the journal.

    `sampling` is the pipeline's tail sampling: it is told of traces that are handed on, and asked about those that
    still grow. `keep_for_logs` keeps traces for some time after they were handed on, as log records that belong to them
    may come late.
    """

    memory: int
    sampling: TailSampling | None = None
    keep_for_logs: bool = False


class Flow:
    """From the journal to delivery: take, assemble, run the trace stage, hand on, settle."""

    def __init__(  # noqa: PLR0913  the rooms it joins
        self,
        name: str,
        journal: Journal,
        assembly: Assembly,
        stages: Sequence[Stage[TraceProcessor]],
        *,
        telemetry: Telemetry,
        remembered: Remembered,
        options: FlowOptions,
    ) -> None:
        self._name = name
        self._journal = journal
        self._assembly = assembly
        self._stages = stages
        self._telemetry = telemetry
        self._counters = {
            stage.name: (
                telemetry.incoming_items.labels(stage.name, "traces"),
                telemetry.outgoing_items.labels(stage.name, "traces"),
            )
            for stage in stages
        }
        self._remembered = remembered
        self._options = options
        self._ledger = Ledger(journal)
        self._recent = Recent() if options.keep_for_logs else None
        self._deliveries: list[Delivery] = []
        self._handed_on = 0
        self._relieved = asyncio.Event()
        self._now = ReadingTime(asyncio.get_running_loop().time)

    def deliver_to(self, delivery: Delivery) -> None:
        """Add a delivery; a trace is settled when all of them have it."""
        self._deliveries.append(delivery)

    @asynccontextmanager
    async def running(self, shutdown_timeout: float) -> AsyncIterator[None]:
        """Run in the background; at exit, hand on all there is and wait for it up to `shutdown_timeout` seconds."""
        async with asyncio.TaskGroup() as group:
            steps = [self._take(), self._release(), self._ledger.run()]
            tasks = [group.create_task(step) for step in steps]
            tasks += [group.create_task(delivery.run()) for delivery in self._deliveries]
            try:
                yield
            finally:
                await self._drain(shutdown_timeout)
                for task in tasks:
                    task.cancel()
                for delivery in self._deliveries:
                    delivery.close()

    def settled(self, pending: Pending) -> None:
        """Every delivery has the trace, or it was dropped by a rule."""
        self._handed_on -= pending.size
        self._assembly.done(pending)
        known = pending.trace_id in self._remembered
        note = self._remembered.record(pending.trace_id) if known else None
        self._ledger.settle(pending.trace_id, pending.rows, pending.aside, note)
        self._relieved.set()

    async def _take(self) -> None:
        while True:
            await self._room()
            row = await self._journal.take()
            found = await self._open(row)
            self._ledger.open(row.id, {piece.trace_id for piece in found})
            self._assembly.add(row, found, self._now())
            await self._release_before_time(found)
            await asyncio.sleep(0)

    async def _open(self, row: Row) -> list[Piece]:
        try:
            if len(row.entry.payload) > LARGE_ROW:
                return await asyncio.to_thread(pieces, row)
            return pieces(row)
        except DecodeError:
            log.exception("row %d of the journal is no OTLP request any more; set aside", row.id)
            unreadable = SetAside(row.entry.payload, row.entry.context, "journal", "unreadable")
            self._ledger.open(row.id, {b""})
            self._ledger.settle(b"", [row.id], [unreadable])
            return []

    async def _room(self) -> None:
        """Wait until there is memory for another row; make some if it is incomplete traces that fill it."""
        while self._assembly.full or self._assembly.size + self._handed_on > self._options.memory:
            overdue = self._assembly.overdue(self._now()) is not None
            crowded = not overdue and self._handed_on < self._options.memory // 2
            oldest = self._assembly.evict() if crowded else None
            only_time_helps = not overdue and not self._assembly.evicts
            with nullcontext() if only_time_helps else self._now.stopped():
                await (self._hand_on(oldest) if oldest is not None else self._relief())

    async def _relief(self) -> None:
        """Wait until a trace is handed on or settled."""
        self._relieved.clear()
        await self._relieved.wait()

    async def _release(self) -> None:
        while True:
            await self._hand_on_all(self._assembly.due(self._now()))
            await asyncio.sleep(TICK)

    async def _hand_on_all(self, released: Iterable[Pending]) -> None:
        """Hand on thousands if need be, and let receivers have their turn meanwhile."""
        turn_ends = time.monotonic() + TURN
        for pending in released:
            await self._hand_on(pending)
            if time.monotonic() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.monotonic() + TURN

    async def _release_before_time(self, found: Sequence[Piece]) -> None:
        """Hand on what is decided already, and what is so large that it would leave no memory for others.

        What comes of such a trace later follows it.
        """
        sampling, large = self._options.sampling, self._options.memory // LARGE
        for piece in found:
            pending = self._assembly.pending(piece.trace_id)
            if pending is None or not pending.pieces:
                continue
            if pending.size > large:
                await self._hand_on(self._assembly.release(pending, "large"))
            elif sampling is not None and sampling.wants(pending):
                await self._hand_on(self._assembly.release(pending, "early"))

    async def _hand_on(self, pending: Pending) -> None:
        self._handed_on += pending.size
        self._relieved.set()
        self._count(pending)
        if self._recent is not None:
            self._recent.complete(pending, self._now())
        trace = await _apart(pending, partial(self._run_stages, pending)) if self._passes(pending) else None
        pending.pieces.clear()
        pending.logs.clear()
        if trace is None:
            self.settled(pending)
            return
        pending.open = len(self._deliveries)
        for delivery in self._deliveries:
            await delivery.offer(trace, pending)
        await _apart(pending, trace.seal)

    def _count(self, pending: Pending) -> None:
        self._telemetry.released_traces.labels(self._name, pending.cause).inc()
        if pending.foreign:
            self._telemetry.dropped_items.labels("traces", "another tenant's trace").inc(pending.foreign)
        if pending.dropped:
            self._telemetry.truncated_spans.labels(self._name).inc(pending.dropped)

    def _passes(self, pending: Pending) -> bool:
        if not pending.pieces:
            self._telemetry.dropped_items.labels("logs", "no span came for it").inc(len(pending.logs))
            return False
        if self._options.sampling is None or self._options.sampling.released(pending, self._now()):
            return True
        self._telemetry.dropped_items.labels("traces", "evicted").inc(pending.spans)
        return False

    def _run_stages(self, pending: Pending) -> Trace | None:
        trace: Trace | None = truncated(pending.decode(), pending.dropped)
        for stage in self._stages:
            if trace is None:
                return None
            trace = self._run_stage(stage, trace)
            if stage.counts:
                incoming, outgoing = self._counters[stage.name]
                incoming.inc(pending.spans)
                outgoing.inc(span_count(trace.batch) if trace is not None else 0)
        return trace

    def _run_stage(self, stage: Stage[TraceProcessor], trace: Trace) -> Trace | None:
        """A fault of a processor is counted and costs the trace that processor's work, never the trace."""
        try:
            return stage.process(trace)
        except Exception:
            log.exception("processor %s failed; the trace goes on without it", stage.name)
            self._telemetry.processor_errors.labels(stage.name).inc()
            return trace

    async def _drain(self, seconds: float) -> None:
        """Hand on all there is, complete or not, until the journal is empty or the time is up.

        What the journal still holds of a trace is read first, as long as there is room for it.
        """
        try:
            async with asyncio.timeout(seconds):
                while self._journal.state().rows and not (self._assembly.keeps_the_rest and self._ledger.idle):
                    if self._journal.state().rows <= self._ledger.rows or self._assembly.full:
                        await self._hand_on_all(self._assembly.drain())
                    await asyncio.sleep(TICK)
        except TimeoutError:
            rows = self._journal.state().rows
            log.warning("shutdown: %d requests could not be delivered in %.0f s and stay in the journal", rows, seconds)


async def _apart(pending: Pending, work: Callable[[], Result]) -> Result:
    """Work on a trace; for a giant it is done in a thread, so that senders need not wait for it."""
    return await asyncio.to_thread(work) if pending.spans > 2 * PORTION else work()


def truncated(trace: Trace, dropped: int) -> Trace:
    """Mark a trace that was larger than allowed."""
    if dropped:
        trace.tags[TRUNCATED_TAG] = f"{dropped} of {dropped + span_count(trace.batch)}"
    return trace
