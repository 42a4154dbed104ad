"""Takes whole traces to one exporter: gather, send, and settle, wait or split.

What could be lost decides the rules here:

- A send that failed for now is repeated for as long as it takes; there is no clock that gives up.
- A batch that is refused is split down to the bad trace. That trace is tried again some times, spaced out (MLflow
  answers 422 to its own faults too), and then split down to the bad span.
- A span is set aside only if the destination took something else since it first refused it: a destination that
  refuses everything is broken, and its backlog is kept.
- What is suspect, or waits for an experiment of its own that is not there, leaves room for the others.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from spanbridge.collector.errors import Denied, ExportError, Held, Misplaced, Permanent, Retryable
from spanbridge.collector.exporters import Exporter, SendLimits
from spanbridge.collector.flow.assembly import Pending
from spanbridge.collector.flow.backoff import Backoff
from spanbridge.collector.flow.send_queue import Lane, Lanes, Parcel
from spanbridge.collector.journal import SetAside
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.types import Trace, span_count

log = logging.getLogger(__name__)

REFUSALS = 4
"""So many refusals of a trace that is alone are needed before it is believed to be bad."""
COMPANY = 3
"""After so many failed sends, with others succeeding in between, a trace is sent alone."""
FAILURES = 10
"""After so many, a failure counts as a refusal."""


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """`consumers` sends run at a time; `offer` blocks while `room` spans or more are held here, but for suspects."""

    consumers: int = 4
    room: int = 8192
    limits: SendLimits = field(default_factory=SendLimits)
    backoff: Backoff = field(default_factory=Backoff)


class Delivery:
    """The traces on their way to one exporter. Methods are called from the event loop; sends run in threads."""

    def __init__(
        self,
        name: str,
        exporter: Exporter,
        options: DeliveryOptions,
        telemetry: Telemetry,
        settled: Callable[[Pending], None],
    ) -> None:
        self.name = name
        self._exporter = exporter
        self._options = options
        self._telemetry = telemetry
        self._settled = settled
        self._lanes = Lanes(options.limits)
        self._threads = ThreadPoolExecutor(options.consumers, thread_name_prefix=f"send {name}")
        self._free = asyncio.Semaphore(options.consumers)
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._spans = self._suspected = 0
        self._closed = False
        self._successes = 0
        self._now = asyncio.get_running_loop().time

    async def offer(self, trace: Trace, account: Pending) -> None:
        """Take a trace over; waits while there is no room. `account.open` has been counted up for it."""
        await self._room.wait()
        parcel = Parcel(trace, account, span_count(trace.batch), self._now(), evidence=self._successes)
        self._hold(parcel.spans)
        try:
            self._enqueue(parcel)
        except Denied as denied:
            self._deny(parcel, str(denied))
        self._make_way()

    async def run(self) -> None:
        """Send what was offered, for ever."""
        async with asyncio.TaskGroup() as sends:
            while True:
                await self._free.acquire()
                lane, parcels = await self._next()
                sends.create_task(self._deliver(lane, parcels))

    def close(self) -> None:
        """Let the exporter go; a send that hangs in a thread is left to its own timeout."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._exporter.close()

    async def _next(self) -> tuple[Lane, list[Parcel]]:
        while True:
            self._wake.clear()
            picked = self._lanes.pick(self._now())
            if picked is not None:
                return picked
            next_at = self._lanes.next_at()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(None if next_at == float("inf") else next_at):
                    await self._wake.wait()

    async def _deliver(self, lane: Lane, parcels: list[Parcel]) -> None:
        """Send; a refused batch is halved until the bad ones are alone. What fails for now goes back to the lane."""
        stack = [parcels]
        try:
            while stack:
                batch = stack.pop()
                answer = await self._send(batch)
                if isinstance(answer, int):
                    self._succeeded(batch, rejected=answer)
                elif len(batch) > 1:
                    middle = len(batch) // 2
                    stack += [batch[middle:], batch[:middle]]
                else:
                    self._refused(batch[0], str(answer))
        except Retryable as failure:
            self._postpone(lane, [parcel for rest in [*reversed(stack), batch] for parcel in rest], failure)
        else:
            self._telemetry.held.labels(self.name).set(0)
            self._lanes.succeeded(lane)
            self._make_way()
        finally:
            self._free.release()
            self._wake.set()

    async def _send(self, batch: list[Parcel]) -> Permanent | int:
        """How many spans the destination rejected, or why it refuses the batch. Raises `Retryable`."""
        if self._closed:
            raise asyncio.CancelledError  # which is on its way to this task, and takes some turns of the loop
        in_flight = self._telemetry.in_flight.labels(self.name)
        in_flight.inc()
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._exporter.send, [parcel.trace for parcel in batch])
        except Permanent as refusal:
            return refusal
        except ExportError:
            raise
        except Exception as fault:
            log.exception("exporter %s failed in a way it should not", self.name)
            raise Retryable(f"{type(fault).__name__} in the exporter") from fault
        finally:
            in_flight.dec()

    def _succeeded(self, batch: list[Parcel], rejected: int) -> None:
        self._successes += 1
        now = self._now()
        latency = self._telemetry.delivery_latency.labels(self.name)
        for parcel in batch:
            latency.observe(now - parcel.offered)
            self._settle(parcel)
        sent = sum(parcel.spans for parcel in batch)
        rejected = min(rejected, sent)  # it is a stranger's number
        self._telemetry.sent_spans.labels(self.name).inc(sent - rejected)
        self._telemetry.send_failed_spans.labels(self.name).inc(rejected)

    def _postpone(self, lane: Lane, parcels: list[Parcel], failure: Retryable) -> None:
        now = self._now()
        delay = self._delay(lane.failures + 1, failure.retry_after)
        self._telemetry.retries.labels(self.name).inc()
        self._telemetry.held.labels(self.name).set(isinstance(failure, Held))
        level = logging.ERROR if isinstance(failure, Held) else logging.WARNING
        log.log(level, "exporter %s: %s; %d traces wait, next try in %.1f s", self.name, failure, len(parcels), delay)
        if not lane.failures:
            lane.evidence = self._successes
        self._lanes.failed(lane, len(parcels), now + delay)
        if isinstance(failure, Misplaced):
            self._lanes.misplace(lane, str(failure))
        for parcel in parcels:
            if not isinstance(failure, Held):
                self._count_failure(parcel)
            if len(parcels) == 1 and parcel.failures >= FAILURES:
                self._doubt(parcel, str(failure), proven=True)
            elif parcel.alone:
                self._try_later(parcel, parcel.failures)
            else:
                self._enqueue(parcel)

    def _count_failure(self, parcel: Parcel) -> None:
        """What fails again and again while others succeed is bad in all but name; an outage proves nothing."""
        if self._successes > parcel.evidence:
            parcel.evidence = self._successes
            parcel.failures += 1
            if parcel.failures >= COMPANY:
                self._suspect(parcel)

    def _refused(self, parcel: Parcel, reason: str) -> None:
        if parcel.refusals == 0:
            parcel.evidence = self._successes
        self._doubt(parcel, reason, proven=self._successes > parcel.evidence)

    def _doubt(self, parcel: Parcel, reason: str, *, proven: bool) -> None:
        """A parcel that is alone was refused: try again later, split it, or set it aside."""
        parcel.refusals += 1
        self._suspect(parcel)
        if parcel.refusals >= REFUSALS and parcel.spans > 1:
            self._split(parcel)
        elif parcel.refusals >= REFUSALS and proven:
            self._set_aside(parcel, reason)
        else:
            self._try_later(parcel, parcel.refusals)

    def _suspect(self, parcel: Parcel) -> None:
        if not parcel.alone:
            parcel.alone = True
            self._suspected += parcel.spans
            self._hold(0)

    def _make_way(self) -> None:
        """While others get through, what is misplaced takes half of the room; what is more is set aside.

        Else all would wait until an operator mends what is one sender's trouble.
        """
        waiting = self._lanes.misplaced.values()
        excess = sum(lane.spans for lane in waiting) - self._options.room // 2
        for lane in waiting:
            if self._successes > lane.evidence:
                for parcel in lane.shed(excess):
                    excess -= parcel.spans
                    self._set_aside(parcel, lane.misplaced)

    def _try_later(self, parcel: Parcel, times: int) -> None:
        parcel.not_before = self._now() + self._delay(times)
        self._enqueue(parcel)

    def _delay(self, times: int, at_least: float | None = None) -> float:
        return self._options.backoff.delay(times, random.random(), at_least)  # noqa: S311  jitter, no secret

    def _split(self, parcel: Parcel) -> None:
        parcel.account.open += 1
        for half in parcel.halves():
            half.not_before = 0.0
            self._enqueue(half)

    def _deny(self, parcel: Parcel, reason: str) -> None:
        """Drop it: kept, such traces would fill the journal, and with it shut everybody out."""
        log.error("exporter %s: dropped %d span(s): %s", self.name, parcel.spans, reason)
        self._telemetry.dropped_items.labels("traces", "experiment not allowed").inc(parcel.spans)
        self._settle(parcel)

    def _set_aside(self, parcel: Parcel, reason: str) -> None:
        log.error("exporter %s: set aside %d span(s): %s", self.name, parcel.spans, reason)
        self._telemetry.set_aside_spans.labels(self.name, "refused").inc(parcel.spans)
        self._telemetry.send_failed_spans.labels(self.name).inc(parcel.spans)
        trace = parcel.trace
        parcel.account.aside.append(SetAside(trace.serialized, trace.context, self.name, reason))
        self._settle(parcel)

    def _settle(self, parcel: Parcel) -> None:
        if parcel.alone:
            self._suspected -= parcel.spans
        self._hold(-parcel.spans)
        parcel.account.open -= 1
        if parcel.account.open == 0:
            self._settled(parcel.account)

    def _enqueue(self, parcel: Parcel) -> None:
        self._lanes.add(self._exporter.group(parcel.trace), parcel)
        self._wake.set()

    def _hold(self, spans: int) -> None:
        """Count spans; suspects, which wait for long, have a room of the same size to themselves."""
        self._spans += spans
        if self._spans - min(self._suspected, self._options.room) < self._options.room:
            self._room.set()
        else:
            self._room.clear()
