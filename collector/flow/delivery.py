"""Delivery of whole traces to one exporter: gather, send, and settle, wait or split.

What could be lost decides the rules here:

- A send that failed for now is repeated for as long as it takes; there is no clock that gives up.
- A batch that is refused is split down to the bad trace. That trace is tried again some times, spaced out (MLflow
  answers 422 to its own faults too), and then split down to the bad span.
- A span becomes a dead letter only if the destination took something else since it first refused it: a destination
  that refuses everything is broken, and its backlog is kept.
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
from spanbridge.collector.exporters import Exporter, SerializedTrace
from spanbridge.collector.flow.backoff import Backoff
from spanbridge.collector.flow.send_queue import DestinationQueue, QueuedTrace, SendLimits, SendQueue
from spanbridge.collector.flow.settlement import SettlementAccount
from spanbridge.collector.journal import DeadLetter
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
    """How much is sent at a time and how long a failed send waits.

    `num_consumers` sends run at a time. `Delivery.offer` blocks while `room` spans or more are held, suspects not
    counted. `limits` bound one send, `backoff` says when it is repeated.
    """

    num_consumers: int = 4
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
        settled: Callable[[SettlementAccount], None],
    ) -> None:
        self.name = name
        self._exporter = exporter
        self._options = options
        self._telemetry = telemetry
        self._settled = settled
        self._queue = SendQueue(options.limits)
        self._threads = ThreadPoolExecutor(options.num_consumers, thread_name_prefix=f"send {name}")
        self._free = asyncio.Semaphore(options.num_consumers)
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._spans = self._suspected = 0
        self._closed = False
        self._successes = 0
        self._now = asyncio.get_running_loop().time

    async def offer(self, trace: Trace, serialized: SerializedTrace, account: SettlementAccount) -> None:
        """Take a trace over; waits while there is no room.

        Args:
            trace: The trace decoded, which says what group it belongs to; it is not kept.
            serialized: The same trace, to send.
            account: What its settlement is noted in; this delivery's part is counted as open already.
        """
        await self._room.wait()
        queued = QueuedTrace(serialized, account, span_count(trace.batch), self._now(), evidence=self._successes)
        self._hold(queued.spans)
        self._admit(queued, trace)
        self._make_way()

    async def run(self) -> None:
        """Send what was offered, for ever."""
        async with asyncio.TaskGroup() as sends:
            while True:
                await self._free.acquire()
                queue, traces = await self._next()
                sends.create_task(self._deliver(queue, traces))

    def close(self) -> None:
        """Let the exporter go; a send that hangs in a thread is left to its own timeout."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._exporter.close()

    def _admit(self, queued: QueuedTrace, trace: Trace) -> None:
        """Put a trace into the queue of its group, or drop it if it may go nowhere.

        It is asked for the group once, while its spans are at hand decoded: a retry would have to decode them again.
        """
        try:
            queued.group = self._exporter.group(trace)
        except Denied as denied:
            self._deny(queued, str(denied))
        else:
            self._enqueue(queued)

    async def _next(self) -> tuple[DestinationQueue, list[QueuedTrace]]:
        while True:
            self._wake.clear()
            picked = self._queue.pick(self._now())
            if picked is not None:
                return picked
            next_at = self._queue.next_at()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(None if next_at == float("inf") else next_at):
                    await self._wake.wait()

    async def _deliver(self, queue: DestinationQueue, traces: list[QueuedTrace]) -> None:
        """Send; a refused batch is halved until the bad ones are alone. What fails for now goes back to the queue."""
        stack = [traces]
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
            # What was sent before in this loop is settled, or queued as suspect: the rest is what is on the stack.
            self._postpone(queue, [queued for rest in [*reversed(stack), batch] for queued in rest], failure)
        else:
            self._telemetry.held.labels(self.name).set(0)
            self._queue.succeeded(queue)
            self._make_way()
        finally:
            self._free.release()
            self._wake.set()

    async def _send(self, batch: list[QueuedTrace]) -> Permanent | int:
        """Return how many spans the destination rejected, or why it refuses the batch.

        Raises:
            Retryable: it failed for now, or in a way that an exporter should not.
        """
        if self._closed:
            raise asyncio.CancelledError  # which is on its way to this task, and takes some turns of the loop
        in_flight = self._telemetry.in_flight.labels(self.name)
        in_flight.inc()
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._exporter.send, [queued.trace for queued in batch])
        except Permanent as refusal:
            return refusal
        except ExportError:
            raise
        except Exception as fault:
            log.exception("exporter %s failed in a way it should not", self.name)
            raise Retryable(f"{type(fault).__name__} in the exporter") from fault
        finally:
            in_flight.dec()

    def _succeeded(self, batch: list[QueuedTrace], rejected: int) -> None:
        self._successes += 1
        now = self._now()
        latency = self._telemetry.delivery_latency.labels(self.name)
        for queued in batch:
            latency.observe(now - queued.offered)
            self._settle(queued)
        sent = sum(queued.spans for queued in batch)
        rejected = min(rejected, sent)  # it is a stranger's number
        self._telemetry.sent_spans.labels(self.name).inc(sent - rejected)
        self._telemetry.send_failed_spans.labels(self.name).inc(rejected)

    def _postpone(self, queue: DestinationQueue, traces: list[QueuedTrace], failure: Retryable) -> None:
        """Put traces back that failed for now, and let their queue wait."""
        now = self._now()
        delay = self._delay(queue.failures + 1, failure.retry_after)
        self._telemetry.retries.labels(self.name).inc()
        self._telemetry.held.labels(self.name).set(isinstance(failure, Held))
        level = logging.ERROR if isinstance(failure, Held) else logging.WARNING
        log.log(level, "exporter %s: %s; %d traces wait, next try in %.1f s", self.name, failure, len(traces), delay)
        if not queue.failures:
            queue.evidence = self._successes
        self._queue.failed(queue, len(traces), now + delay)
        if isinstance(failure, Misplaced):
            self._queue.misplace(queue, str(failure))
        for queued in traces:
            if not isinstance(failure, Held):
                self._count_failure(queued)
            if len(traces) == 1 and queued.failures >= FAILURES:
                self._doubt(queued, str(failure), proven=True)
            elif queued.alone:
                self._try_later(queued, queued.failures)
            else:
                self._enqueue(queued)

    def _count_failure(self, queued: QueuedTrace) -> None:
        """Count a failure against a trace if others succeeded since its last one.

        What fails again and again while others succeed is bad in all but name; an outage proves nothing.
        """
        if self._successes > queued.evidence:
            queued.evidence = self._successes
            queued.failures += 1
            if queued.failures >= COMPANY:
                self._suspect(queued)

    def _refused(self, queued: QueuedTrace, reason: str) -> None:
        if queued.refusals == 0:
            queued.evidence = self._successes
        self._doubt(queued, reason, proven=self._successes > queued.evidence)

    def _doubt(self, queued: QueuedTrace, reason: str, *, proven: bool) -> None:
        """Try a trace that was refused alone again later, split it, or give it up.

        Args:
            queued: The trace.
            reason: What the destination said.
            proven: Whether the destination took something else since it first refused this.
        """
        queued.refusals += 1
        self._suspect(queued)
        if queued.refusals >= REFUSALS and queued.spans > 1:
            self._split(queued)
        elif queued.refusals >= REFUSALS and proven:
            self._give_up(queued, reason)
        else:
            self._try_later(queued, queued.refusals)

    def _suspect(self, queued: QueuedTrace) -> None:
        if not queued.alone:
            queued.alone = True
            self._suspected += queued.spans
            self._hold(0)

    def _make_way(self) -> None:
        """Give up the oldest of what is misplaced beyond half of the room, while others get through.

        Else all would wait until an operator mends what is one sender's trouble.
        """
        waiting = self._queue.misplaced.values()
        excess = sum(queue.spans for queue in waiting) - self._options.room // 2
        for queue in waiting:
            if self._successes > queue.evidence:
                for queued in queue.shed(excess):
                    excess -= queued.spans
                    self._give_up(queued, queue.misplaced)

    def _try_later(self, queued: QueuedTrace, times: int) -> None:
        queued.not_before = self._now() + self._delay(times)
        self._enqueue(queued)

    def _delay(self, times: int, at_least: float | None = None) -> float:
        return self._options.backoff.delay(times, random.random(), at_least)  # noqa: S311  jitter, no secret

    def _split(self, queued: QueuedTrace) -> None:
        """Queue the halves of a trace instead of it; each is asked for its group anew, as exporters look at spans."""
        queued.account.divide()
        for half in queued.halves():
            half.not_before = 0.0
            self._admit(half, half.trace.decode())

    def _deny(self, queued: QueuedTrace, reason: str) -> None:
        """Drop a trace: kept, such ones would fill the journal, and with it shut everybody out."""
        log.error("exporter %s: dropped %d span(s): %s", self.name, queued.spans, reason)
        self._telemetry.dropped_items.labels("traces", "experiment not allowed").inc(queued.spans)
        self._settle(queued)

    def _give_up(self, queued: QueuedTrace, reason: str) -> None:
        """Set a trace aside as a dead letter: an operator may retry or drop it."""
        log.error("exporter %s: set aside %d span(s): %s", self.name, queued.spans, reason)
        self._telemetry.set_aside_spans.labels(self.name, "refused").inc(queued.spans)
        self._telemetry.send_failed_spans.labels(self.name).inc(queued.spans)
        self._settle(queued, DeadLetter(queued.trace.payload, queued.trace.context, self.name, reason))

    def _settle(self, queued: QueuedTrace, dead_letter: DeadLetter | None = None) -> None:
        if queued.alone:
            self._suspected -= queued.spans
        self._hold(-queued.spans)
        if queued.account.settle_part(dead_letter):
            self._settled(queued.account)

    def _enqueue(self, queued: QueuedTrace) -> None:
        self._queue.add(queued)
        self._wake.set()

    def _hold(self, spans: int) -> None:
        """Count spans; suspects, which wait for long, have a room of the same size to themselves."""
        self._spans += spans
        if self._spans - min(self._suspected, self._options.room) < self._options.room:
            self._room.set()
        else:
            self._room.clear()
