"""The send queue: what waits to be sent, in one queue for each group, and which of it may go now.

Pure: the clock is passed in. Times are in seconds of one clock, whatever its zero.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from spanbridge.collector.exporters import SerializedTrace
from spanbridge.collector.flow.settlement import SettlementAccount
from spanbridge.processors.types import Batch


@dataclass(slots=True)
class QueuedTrace:
    """A trace, or a part of one, on its way to a destination.

    `account` says which journal rows wait for it, `spans` is how many it holds, `offered` when delivery took it over,
    and `group` what the exporter said of it.

    `refusals` counts those it met while it was alone in a send, `failures` the sends that failed with it though
    others had succeeded in between; `evidence` is how many sends had succeeded by then. A trace under suspicion goes
    `alone`, and not before `not_before`.
    """

    trace: SerializedTrace
    account: SettlementAccount
    spans: int
    offered: float
    group: Hashable = None
    refusals: int = 0
    failures: int = 0
    evidence: int = 0
    alone: bool = False
    not_before: float = 0.0

    def halves(self) -> tuple[QueuedTrace, QueuedTrace]:
        """Return the same spans in two parts, with what is known against the whole.

        Both are `late`: neither stands for the whole trace any more, and what one says of the trace (its name, its end)
        must not be taken for the last word.
        """
        middle = self.spans // 2
        first, second = split_batch(Batch.FromString(self.trace.payload), middle)
        return self._part(first, middle), self._part(second, self.spans - middle)

    def _part(self, batch: Batch, spans: int) -> QueuedTrace:
        return replace(self, trace=replace(self.trace, payload=batch.SerializeToString(), late=True), spans=spans)


@dataclass(frozen=True, slots=True)
class SendLimits:
    """How much goes in one send: at most so many traces and spans.

    `send_batch_size` and `timeout` are the batch processor's keys: a send waits `timeout` seconds for so many spans to
    come together.
    """

    max_traces: int = 64
    max_spans: int = 2048
    send_batch_size: int = 0
    timeout: float = 0.0


@dataclass(slots=True)
class DestinationQueue:
    """The traces of one group, and how the destination has behaved towards the group lately.

    `suspects` are traces that go alone, so that they harm no other, and in turn with the others, so that neither waits
    for the other. `spans` is how many wait in both, `under_way` how many sends are. After `failures` in a row nothing
    goes before `not_before`, and a send holds at most `max_traces`.

    `misplaced` says what is wrong with the place of the group, and `evidence` is how many sends of all groups had
    succeeded when this one began to fail.
    """

    group: Hashable
    traces: deque[QueuedTrace] = field(default_factory=deque)
    suspects: list[QueuedTrace] = field(default_factory=list)
    spans: int = 0
    under_way: int = 0
    failures: int = 0
    not_before: float = 0.0
    max_traces: int = 1
    suspect_next: bool = False
    misplaced: str = ""
    evidence: int = 0

    def add(self, queued: QueuedTrace) -> None:
        """Put a trace at the end of the queue."""
        (self.suspects if queued.alone else self.traces).append(queued)
        self.spans += queued.spans

    def ready_at(self, limits: SendLimits) -> float:
        """Return when something may go; a queue that fails sends one probe at a time."""
        if self.failures and self.under_way:
            return float("inf")
        at = min((suspect.not_before for suspect in self.suspects), default=float("inf"))
        if self.traces:
            wait = limits.timeout if self.spans < limits.send_batch_size else 0.0
            at = min(at, self.traces[0].offered + wait)
        return max(self.not_before, at)

    def take(self, limits: SendLimits, now: float) -> list[QueuedTrace]:
        """Take the traces of the next send out of the queue."""
        suspect = next((suspect for suspect in self.suspects if suspect.not_before <= now), None)
        if suspect is not None and (self.suspect_next or not self.traces):
            self.suspects.remove(suspect)
            taken = [suspect]
        else:
            taken = self._take_traces(limits)
        self.suspect_next = not self.suspect_next
        self.spans -= sum(queued.spans for queued in taken)
        self.under_way += 1
        return taken

    def shed(self, spans: int) -> list[QueuedTrace]:
        """Take the oldest traces out of the queue, until so many spans are out."""
        shed = []
        while self.traces and spans > 0:
            shed.append(self.traces.popleft())
            spans -= shed[-1].spans
            self.spans -= shed[-1].spans
        return shed

    def _take_traces(self, limits: SendLimits) -> list[QueuedTrace]:
        taken = [self.traces.popleft()]
        spans = taken[0].spans
        while self.traces and len(taken) < self.max_traces and spans + self.traces[0].spans <= limits.max_spans:
            taken.append(self.traces.popleft())
            spans += taken[-1].spans
        return taken


class SendQueue:
    """All queues, served in turn so that a busy group does not starve a quiet one.

    `misplaced` are those whose place is wrong, by their group.
    """

    def __init__(self, limits: SendLimits) -> None:
        self._limits = limits
        self._queues: dict[Hashable, DestinationQueue] = {}
        self.misplaced: dict[Hashable, DestinationQueue] = {}

    def __len__(self) -> int:
        return sum(len(queue.traces) + len(queue.suspects) for queue in self._queues.values())

    def add(self, queued: QueuedTrace) -> None:
        """Put a trace at the end of the queue of its group."""
        queue = self._queues.get(queued.group)
        if queue is None:
            queue = self._queues[queued.group] = DestinationQueue(queued.group, max_traces=self._limits.max_traces)
        queue.add(queued)

    def pick(self, now: float) -> tuple[DestinationQueue, list[QueuedTrace]] | None:
        """Return the next send and the queue it was taken from, or None if nothing may go yet."""
        for queue in self._queues.values():
            if queue.ready_at(self._limits) <= now:
                self._queues[queue.group] = self._queues.pop(queue.group)  # to the end: the others come first now
                return queue, queue.take(self._limits, now)
        return None

    def next_at(self) -> float:
        """Return when `pick` will find something, unless more comes before; infinity if nothing waits."""
        return min((queue.ready_at(self._limits) for queue in self._queues.values()), default=float("inf"))

    def succeeded(self, queue: DestinationQueue) -> None:
        """Take note that the destination took a send: sends may grow again."""
        queue.failures = 0
        self.misplaced.pop(queue.group, None)
        queue.max_traces = min(queue.max_traces * 2, self._limits.max_traces)
        self._finish(queue)

    def failed(self, queue: DestinationQueue, sent: int, not_before: float) -> None:
        """Take note that the destination did not take `sent` traces for now: wait, then send half as many at a time."""
        queue.failures += 1
        queue.not_before = not_before
        queue.max_traces = max(1, min(queue.max_traces, sent) // 2)
        self._finish(queue)

    def misplace(self, queue: DestinationQueue, reason: str) -> None:
        """Let a queue wait until its place is mended, whatever becomes of the others."""
        queue.misplaced = reason
        self.misplaced[queue.group] = queue

    def _finish(self, queue: DestinationQueue) -> None:
        """End a send, and forget a queue that is empty and well: over time there may be a group for each client."""
        queue.under_way -= 1
        if not queue.spans and not queue.under_way and not queue.failures:
            self._queues.pop(queue.group, None)


def split_batch(batch: Batch, spans: int) -> tuple[Batch, Batch]:
    """Return a batch in two: its first `spans` spans, and the rest; resources and scopes go with their spans."""
    first, second = Batch(), Batch()
    for resource_spans in batch.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            here, there = scope_spans.spans[:spans], scope_spans.spans[spans:]
            spans -= len(here)
            for target, chosen in ((first, here), (second, there)):
                if chosen:
                    resource = target.resource_spans.add(schema_url=resource_spans.schema_url)
                    resource.resource.CopyFrom(resource_spans.resource)
                    scope = resource.scope_spans.add(schema_url=scope_spans.schema_url)
                    scope.scope.CopyFrom(scope_spans.scope)
                    scope.spans.extend(chosen)
    return first, second
