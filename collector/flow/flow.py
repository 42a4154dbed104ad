"""The flow: from the journal over assembly and the trace stage to delivery, and back to settlement."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from spanbridge.collector.exporters import SerializedTrace
from spanbridge.collector.flow.assembly import Assembly, PendingTrace
from spanbridge.collector.flow.delivery import Delivery
from spanbridge.collector.flow.fragments import Fragment, fragments
from spanbridge.collector.flow.head import PORTION
from spanbridge.collector.flow.late_logs import LateLogs
from spanbridge.collector.flow.pausable_clock import PausableClock
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.flow.settlement import OpenRows, SettlementAccount
from spanbridge.collector.flow.trace_stage import TraceStage, TraceStages, truncated
from spanbridge.collector.journal import DeadLetter, Journal, Row
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.types import Trace

if TYPE_CHECKING:
    from spanbridge.collector.flow.processors.tail_sampling import TailSampling

log = logging.getLogger(__name__)

LARGE = 8
"""A trace that holds more than this part of a flow's memory is handed on as far as it has come."""
LARGE_ROW = 1 << 20
"""Bytes of a row that takes some ms to be cut into traces."""
TICK = 0.05
"""How often, in seconds, the assembly is asked what is due."""
TURN = 0.002
"""Seconds of work on traces at a time, while senders wait for OK."""


@dataclass(frozen=True, slots=True)
class FlowOptions:
    """What bounds a flow, and what it asks besides its stages.

    `memory` bounds the bytes of spans held in the flow and its deliveries; what is more waits in the journal.
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
        stages: Sequence[TraceStage],
        *,
        telemetry: Telemetry,
        released_traces: ReleasedTraces,
        options: FlowOptions,
    ) -> None:
        self._name = name
        self._journal = journal
        self._assembly = assembly
        self._stages = TraceStages(stages, telemetry)
        self._telemetry = telemetry
        self._released_traces = released_traces
        self._options = options
        self._open_rows = OpenRows(journal)
        self._late_logs = LateLogs() if options.keep_for_logs else None
        self._deliveries: list[Delivery] = []
        self._handed_on = 0
        self._relieved = asyncio.Event()
        self._clock = PausableClock(asyncio.get_running_loop().time)

    def deliver_to(self, delivery: Delivery) -> None:
        """Add a delivery; a trace is settled when all of them have it."""
        self._deliveries.append(delivery)

    @asynccontextmanager
    async def running(self, shutdown_timeout: float) -> AsyncIterator[None]:
        """Run in the background; at exit, hand on all there is and wait for it up to `shutdown_timeout` seconds."""
        async with asyncio.TaskGroup() as group:
            steps = [self._take(), self._release(), self._open_rows.run()]
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

    def settled(self, account: SettlementAccount) -> None:
        """Settle a trace: every delivery has it, or it was dropped by a rule."""
        trace_id = account.trace_id
        self._handed_on -= account.size
        self._assembly.done(trace_id)
        note = self._released_traces.record(trace_id) if trace_id in self._released_traces else None
        self._open_rows.settle(account, note)
        self._relieved.set()

    async def _take(self) -> None:
        while True:
            await self._room()
            await self._take_in(await self._journal.take())
            await asyncio.sleep(0)

    async def _take_in(self, row: Row) -> None:
        try:
            found = await _fragments_of(row)
        except DecodeError:
            log.exception("row %d of the journal is no OTLP request any more; set aside", row.id)
            self._open_rows.refuse(row.id, DeadLetter(row.entry.payload, row.entry.context, "journal", "unreadable"))
            return
        self._open_rows.add(row.id, {fragment.trace_id for fragment in found})
        self._assembly.add(row, found, self._clock())
        await self._release_before_time(found)

    async def _room(self) -> None:
        """Wait until there is memory for another row; make some if it is incomplete traces that fill it.

        What is with delivery goes by itself, and what is overdue is about to, so an incomplete trace is evicted only
        where these do not fill the memory. While rows go unread the clock of pending traces stands still, or traces
        would be taken to be complete whose spans wait in the journal. But where nothing is evicted and nothing is due,
        only time makes room: to stop it then would be to wait for ever.
        """
        while self._assembly.full or self._assembly.size + self._handed_on > self._options.memory:
            overdue = self._assembly.overdue(self._clock()) is not None
            crowded = not overdue and self._handed_on < self._options.memory // 2
            oldest = self._assembly.evict() if crowded else None
            only_time_helps = not overdue and not self._assembly.evicts
            with nullcontext() if only_time_helps else self._clock.paused():
                await (self._hand_on(oldest) if oldest is not None else self._relief())

    async def _relief(self) -> None:
        """Wait until a trace is handed on or settled."""
        self._relieved.clear()
        await self._relieved.wait()

    async def _release(self) -> None:
        while True:
            await self._hand_on_all(self._assembly.due(self._clock()))
            await asyncio.sleep(TICK)

    async def _hand_on_all(self, released: Iterable[PendingTrace]) -> None:
        """Hand on thousands if need be, and let receivers have their turn meanwhile."""
        turn_ends = time.monotonic() + TURN
        for pending in released:
            await self._hand_on(pending)
            if time.monotonic() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.monotonic() + TURN

    async def _release_before_time(self, found: Sequence[Fragment]) -> None:
        """Hand on what is decided already, and what is so large that it would leave no memory for others.

        What comes of such a trace later follows it, as late spans do.
        """
        sampling, large = self._options.sampling, self._options.memory // LARGE
        for fragment in found:
            pending = self._assembly.pending(fragment.trace_id)
            if pending is None or not pending.fragments:
                continue
            if pending.size > large:
                await self._hand_on(self._assembly.release(pending, "large"))
            elif sampling is not None and sampling.wants(pending):
                await self._hand_on(self._assembly.release(pending, "early"))

    async def _hand_on(self, pending: PendingTrace) -> None:
        """Run the trace stage on a released trace and offer what it leaves to every delivery."""
        account = pending.account
        account.hand_on(pending.size, len(self._deliveries))
        self._handed_on += account.size
        self._relieved.set()
        self._count(pending)
        if self._late_logs is not None:
            self._late_logs.complete(pending, self._clock())
        ready = await self._prepare(pending) if self._passes(pending) else None
        pending.clear()
        if ready is None:
            self.settled(account)
            return
        for delivery in self._deliveries:
            await delivery.offer(*ready, account)

    def _count(self, pending: PendingTrace) -> None:
        self._telemetry.released_traces.labels(self._name, pending.cause).inc()
        if pending.foreign:
            self._telemetry.dropped_items.labels("traces", "another tenant's trace").inc(pending.foreign)
        if pending.dropped:
            self._telemetry.truncated_spans.labels(self._name).inc(pending.dropped)

    def _passes(self, pending: PendingTrace) -> bool:
        """Whether a released trace goes on to the trace stage; what does not is counted."""
        if not pending.fragments:
            self._telemetry.dropped_items.labels("logs", "no span came for it").inc(len(pending.logs))
            return False
        if self._options.sampling is None or self._options.sampling.released(pending, self._clock()):
            return True
        self._telemetry.dropped_items.labels("traces", "evicted").inc(pending.spans)
        return False

    async def _prepare(self, pending: PendingTrace) -> tuple[Trace, SerializedTrace] | None:
        """Return the trace as the stages leave it; a giant is worked on in a thread, so that senders need not wait."""
        if pending.spans > 2 * PORTION:
            return await asyncio.to_thread(self._process, pending)
        return self._process(pending)

    def _process(self, pending: PendingTrace) -> tuple[Trace, SerializedTrace] | None:
        trace = self._stages(truncated(pending.decode(), pending.dropped), pending.spans)
        return None if trace is None else (trace, SerializedTrace.of(trace))

    async def _drain(self, seconds: float) -> None:
        """Hand on all there is, complete or not, until the journal is empty or the time is up.

        What the journal still holds of a trace is read first, as long as there is room for it.
        """
        try:
            async with asyncio.timeout(seconds):
                while self._journal.state().rows and not (self._assembly.keeps_the_rest and self._open_rows.idle):
                    if self._journal.state().rows <= self._open_rows.count or self._assembly.full:
                        await self._hand_on_all(self._assembly.drain())
                    await asyncio.sleep(TICK)
        except TimeoutError:
            rows = self._journal.state().rows
            log.warning("shutdown: %d requests could not be delivered in %.0f s and stay in the journal", rows, seconds)


async def _fragments_of(row: Row) -> list[Fragment]:
    """Return the fragments of a row; a large one is cut in a thread, so that senders need not wait.

    Raises:
        DecodeError: the row holds no OTLP request.
    """
    return await asyncio.to_thread(fragments, row) if len(row.entry.payload) > LARGE_ROW else fragments(row)
