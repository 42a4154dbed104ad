"""What waits to be sent, a lane for each group, and which of it may go now. Pure: the clock is passed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from spanbridge.collector.exporters import SendLimits
from spanbridge.collector.flow.assembly import Pending
from spanbridge.processors.types import Batch, Trace


@dataclass(slots=True)
class Parcel:
    """A trace, or a part of one, on its way; `account` says which journal rows wait for it.

    `refusals` counts those it met while it was alone in a send, `failures` the sends that failed with it though
    others had succeeded in between; `evidence` is how many sends had succeeded by then. A parcel under suspicion goes
    `alone`, and not before `not_before`.
    """

    trace: Trace
    account: Pending
    spans: int
    offered: float
    refusals: int = 0
    failures: int = 0
    evidence: int = 0
    alone: bool = False
    not_before: float = 0.0

    def halves(self) -> tuple[Parcel, Parcel]:
        """The same spans in two parcels, neither of which stands for the whole trace any more."""
        middle = self.spans // 2
        first, second = split_batch(self.trace.batch, middle)
        return (
            replace(self, trace=replace(self.trace, _batch=first, late=True), spans=middle),
            replace(self, trace=replace(self.trace, _batch=second, late=True), spans=self.spans - middle),
        )


@dataclass(slots=True)
class Lane:
    """The parcels of one group, and how the destination has behaved towards the group lately.

    `suspects` are parcels that go alone, so that they harm no other, and
    in turn with the others, so that neither waits for the other. `misplaced` says what is wrong with the place of the
    group, and `evidence` is how many sends had succeeded when the lane began to fail.
    """

    group: Hashable
    parcels: deque[Parcel] = field(default_factory=deque)
    suspects: list[Parcel] = field(default_factory=list)
    spans: int = 0
    under_way: int = 0
    failures: int = 0
    not_before: float = 0.0
    max_traces: int = 1
    suspect_next: bool = False
    misplaced: str = ""
    evidence: int = 0

    def add(self, parcel: Parcel) -> None:
        """Queue a parcel."""
        (self.suspects if parcel.alone else self.parcels).append(parcel)
        self.spans += parcel.spans

    def ready_at(self, limits: SendLimits) -> float:
        """When something may go; a lane that fails sends one probe at a time."""
        if self.failures and self.under_way:
            return float("inf")
        at = min((suspect.not_before for suspect in self.suspects), default=float("inf"))
        if self.parcels:
            gather = limits.linger if self.spans < limits.min_spans else 0.0
            at = min(at, self.parcels[0].offered + gather)
        return max(self.not_before, at)

    def take(self, limits: SendLimits, now: float) -> list[Parcel]:
        """The parcels of the next send."""
        suspect = next((suspect for suspect in self.suspects if suspect.not_before <= now), None)
        if suspect is not None and (self.suspect_next or not self.parcels):
            self.suspects.remove(suspect)
            taken = [suspect]
        else:
            taken = self._take_parcels(limits)
        self.suspect_next = not self.suspect_next
        self.spans -= sum(parcel.spans for parcel in taken)
        self.under_way += 1
        return taken

    def shed(self, spans: int) -> list[Parcel]:
        """Take out the oldest parcels, until so many spans are out."""
        shed = []
        while self.parcels and spans > 0:
            shed.append(self.parcels.popleft())
            spans -= shed[-1].spans
            self.spans -= shed[-1].spans
        return shed

    def _take_parcels(self, limits: SendLimits) -> list[Parcel]:
        taken = [self.parcels.popleft()]
        spans = taken[0].spans
        while self.parcels and len(taken) < self.max_traces and spans + self.parcels[0].spans <= limits.max_spans:
            taken.append(self.parcels.popleft())
            spans += taken[-1].spans
        return taken


class Lanes:
    """All lanes, served in turn so that a busy group does not starve a quiet one."""

    def __init__(self, limits: SendLimits) -> None:
        self._limits = limits
        self._lanes: dict[Hashable, Lane] = {}
        self.misplaced: dict[Hashable, Lane] = {}

    def __len__(self) -> int:
        return sum(len(lane.parcels) + len(lane.suspects) for lane in self._lanes.values())

    def add(self, group: Hashable, parcel: Parcel) -> None:
        """Queue a parcel at the end of its lane."""
        lane = self._lanes.get(group)
        if lane is None:
            lane = self._lanes[group] = Lane(group, max_traces=self._limits.max_traces)
        lane.add(parcel)

    def pick(self, now: float) -> tuple[Lane, list[Parcel]] | None:
        """The next send, or None if nothing may go yet."""
        for lane in self._lanes.values():
            if lane.ready_at(self._limits) <= now:
                self._lanes[lane.group] = self._lanes.pop(lane.group)
                return lane, lane.take(self._limits, now)
        return None

    def next_at(self) -> float:
        """When `pick` will find something, unless more comes before; infinity if nothing waits."""
        return min((lane.ready_at(self._limits) for lane in self._lanes.values()), default=float("inf"))

    def succeeded(self, lane: Lane) -> None:
        """The destination took a send: sends may grow again."""
        lane.failures = 0
        self.misplaced.pop(lane.group, None)
        lane.max_traces = min(lane.max_traces * 2, self._limits.max_traces)
        self._finish(lane)

    def failed(self, lane: Lane, sent: int, not_before: float) -> None:
        """The destination did not take `sent` traces for now: wait, then send half as many at a time."""
        lane.failures += 1
        lane.not_before = not_before
        lane.max_traces = max(1, min(lane.max_traces, sent) // 2)
        self._finish(lane)

    def misplace(self, lane: Lane, reason: str) -> None:
        """The lane waits until its place is mended, whatever becomes of the others."""
        lane.misplaced = reason
        self.misplaced[lane.group] = lane

    def _finish(self, lane: Lane) -> None:
        lane.under_way -= 1
        if not lane.spans and not lane.under_way and not lane.failures:
            self._lanes.pop(lane.group, None)


def split_batch(batch: Batch, spans: int) -> tuple[Batch, Batch]:
    """A batch in two: its first `spans` spans, and the rest; resources and scopes go with their spans."""
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
