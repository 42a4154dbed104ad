"""Assembly: the spans of a trace come together until it is time to hand the trace on.

Pure: the clock is passed in. A pending trace is kept as serialized fragments, not as decoded spans: a concatenation of
serialized OTLP requests is itself a serialized request, and bytes take a fifth of the memory of decoded messages.

A trace that was handed on may come again: late spans, log records, what a sender repeats. Its parts keep their order.
As long as one is with delivery, the next waits here, whatever its time: a destination would else be told of a late span
before the trace that it amends, and could take the older of two versions of a span for the newer.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from spanbridge.collector.flow.fragments import Fragment, cut, drop_repeats
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.flow.settlement import SettlementAccount
from spanbridge.collector.journal import Row
from spanbridge.processors.types import Batch, Context, Logs, Trace

Cause: TypeAlias = Literal["root", "wait", "late", "early", "evicted", "large", "shutdown"]
"""Why a trace was handed on when it was: a label of a metric."""


@dataclass(slots=True)
class PendingTrace:
    """A trace under construction.

    `fragments` and `logs` are its spans and its log records as serialized requests, `spans` and `size` (bytes) how much
    of both came together. `first_seen` and `last_seen` are in seconds of the flow's clock. `late` says that an earlier
    part of it was handed on before, `cause` why this one was.

    `dropped` counts the spans beyond the cap of a trace, `foreign` the spans and records that came for it from a tenant
    with other rights, which are not part of it. `account` is what has to happen until the journal may forget it.
    """

    trace_id: bytes
    context: Context
    first_seen: float
    last_seen: float
    account: SettlementAccount
    late: bool = False
    has_root: bool = False
    spans: int = 0
    size: int = 0
    fragments: list[bytes] = field(default_factory=list)
    logs: list[bytes] = field(default_factory=list)
    dropped: int = 0
    foreign: int = 0
    cause: Cause = "wait"

    def add(self, fragment: Fragment, row: Row, now: float) -> None:
        """Take a fragment of a journal row in; the context of the fragment that brings the root counts."""
        self.account.add_row(row.id)
        if row.entry.context.allow_experiments != self.context.allow_experiments:
            # Whoever knows the id of another tenant's trace could write into it, or lead it into an own experiment.
            self.foreign += fragment.spans or 1
            return
        self.last_seen = now
        if fragment.has_root and not self.has_root:
            self.has_root = True
            self.context = row.entry.context
        self.dropped += fragment.dropped
        if fragment.payload:
            (self.logs if fragment.is_log else self.fragments).append(fragment.payload)
        self.spans += fragment.spans
        self.size += len(fragment.payload)

    def complete(self, earlier: Sequence[bytes]) -> None:
        """Put the fragments of an earlier part before those of this one; they count for no limit a second time."""
        self.fragments = [*earlier, *self.fragments]

    def decode(self) -> Trace:
        """Return all of the trace that has come, decoded."""
        batch = Batch.FromString(b"".join(self.fragments))
        if len(self.fragments) > 1:  # a repetition comes in a request of its own
            drop_repeats(batch)
        logs = Logs.FromString(b"".join(self.logs)) if self.logs else None
        return Trace(self.trace_id, batch, self.context, late=self.late, logs=logs)

    def clear(self) -> None:
        """Give up the fragments, once the trace is decoded: while it waits for room they would be held twice."""
        self.fragments.clear()
        self.logs.clear()


@dataclass(frozen=True, slots=True)
class AssemblyLimits:
    """When a trace is handed on, and how much of it is kept. Durations in seconds.

    Each field has the name of contrib's key for it, in groupbytrace or else in tail_sampling (whose names for the first
    two are `decision_wait` and `decision_wait_after_root_received`).

    `wait_duration_after_root_received` None waits `wait_duration` in any case. Spans of a trace beyond
    `maximum_trace_size_bytes` and `maximum_trace_spans` (0: no cap) are dropped, but for its root. Beyond `num_traces`,
    or when memory is short, the oldest trace goes early, or with `block_on_overflow` no more are taken in.
    `drop_pending_traces_on_shutdown` drops what is pending from memory; the journal has it still, for the next start.
    """

    wait_duration: float = 30.0
    wait_duration_after_root_received: float | None = 1.0
    num_traces: int = 1_000_000
    maximum_trace_size_bytes: int = 0
    maximum_trace_spans: int = 0
    block_on_overflow: bool = False
    drop_pending_traces_on_shutdown: bool = False


class Assembly:
    """The pending traces, each known by its id; `released_traces` knows those that were handed on before.

    `spans` and `size` (bytes) are those of all pending traces. A trace that was handed on is out until it is settled.
    """

    def __init__(self, limits: AssemblyLimits, released_traces: ReleasedTraces | None = None) -> None:
        self._limits = limits
        self._pending: OrderedDict[bytes, PendingTrace] = OrderedDict()
        self._timers: list[tuple[float, bytes]] = []
        self._out: set[bytes] = set()
        self._released_traces = released_traces or ReleasedTraces()
        self.spans = 0
        self.size = 0

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def full(self) -> bool:
        """Whether no more may be taken in for now."""
        return self._limits.block_on_overflow and len(self._pending) >= self._limits.num_traces

    @property
    def evicts(self) -> bool:
        """Whether traces may have to go before their time."""
        return not self._limits.block_on_overflow

    @property
    def keeps_the_rest(self) -> bool:
        """Whether what is pending at shutdown waits for the next start, and nothing is with delivery any more."""
        return self._limits.drop_pending_traces_on_shutdown and not self._out

    def add(self, row: Row, fragments: Iterable[Fragment], now: float) -> None:
        """Take the fragments of a journal row in."""
        for fragment in fragments:
            pending = self._pending.get(fragment.trace_id) or self._start(fragment.trace_id, row.entry.context, now)
            spans, size = pending.spans, pending.size
            pending.add(self._fitting(pending, fragment), row, now)
            self.spans += pending.spans - spans
            self.size += pending.size - size
            if fragment.has_root:
                heapq.heappush(self._timers, (self._due_at(pending), fragment.trace_id))

    def pending(self, trace_id: bytes) -> PendingTrace | None:
        """Return the trace as it stands, if it is here and may be handed on."""
        return None if trace_id in self._out else self._pending.get(trace_id)

    def release(self, pending: PendingTrace, cause: Cause) -> PendingTrace:
        """Hand on a trace at once."""
        del self._pending[pending.trace_id]
        self.spans -= pending.spans
        self.size -= pending.size
        pending.cause = cause
        self._out.add(pending.trace_id)
        if pending.fragments and not pending.late:  # without spans: those are still to come, and are not late
            self._released_traces.put(pending.trace_id)
        if pending.fragments:
            self._released_traces.own(pending.trace_id, pending.context)
        return pending

    def due(self, now: float) -> Iterator[PendingTrace]:
        """Hand on each trace whose time has come; one that is out waits for `done`."""
        while (pending := self.overdue(now)) is not None:
            yield self.release(pending, self._cause(pending))
        while len(self._pending) > self._limits.num_traces:
            oldest = self.evict()
            if oldest is None:
                return
            yield oldest

    def overdue(self, now: float) -> PendingTrace | None:
        """Return a trace whose time has come, left where it is, or None.

        A timer is not moved when a span puts its trace off, as most do: it is looked at when it rings, and set again.
        """
        while self._timers and self._timers[0][0] <= now:
            trace_id = self._timers[0][1]
            pending = self.pending(trace_id)
            if pending is None:
                heapq.heappop(self._timers)
                continue
            due_at = self._due_at(pending)
            if due_at <= now:
                return pending
            heapq.heapreplace(self._timers, (due_at, trace_id))
        return None

    def evict(self) -> PendingTrace | None:
        """Hand on the oldest trace before its time; None if that is not wanted, or all are out already."""
        for trace_id, pending in self._pending.items() if self.evicts else ():
            if trace_id not in self._out:
                return self.release(pending, "evicted")
        return None

    def drain(self) -> Iterator[PendingTrace]:
        """Hand on everything that is not out; for shutdown."""
        if self._limits.drop_pending_traces_on_shutdown:
            return
        for trace_id, pending in list(self._pending.items()):
            # while the caller had the one before, this one may have gone its way
            if trace_id in self._pending and trace_id not in self._out:
                yield self.release(pending, "shutdown")

    def done(self, trace_id: bytes) -> None:
        """Take note that a trace that was out is settled; what came for it meanwhile is due at its own time again."""
        self._out.discard(trace_id)
        waiting = self._pending.get(trace_id)
        if waiting is not None:  # its timer may have rung while it had to wait, and is gone then
            heapq.heappush(self._timers, (self._due_at(waiting), trace_id))

    def _start(self, trace_id: bytes, context: Context, now: float) -> PendingTrace:
        owner = self._released_traces.owner(trace_id)
        if owner is not None and owner.allow_experiments != context.allow_experiments:
            context = owner  # what comes late from another tenant is as foreign as what comes in time
        late = trace_id in self._released_traces
        pending = PendingTrace(trace_id, context, now, now, SettlementAccount(trace_id), late=late)
        self._pending[trace_id] = pending
        heapq.heappush(self._timers, (self._due_at(pending), trace_id))
        return pending

    def _due_at(self, pending: PendingTrace) -> float:
        """Return the time at which a trace is taken to be complete, as far as is known now.

        A late part may never get a root: after its last span it waits as long as a trace that has one.
        """
        latest = pending.first_seen + self._limits.wait_duration
        after_root = self._limits.wait_duration_after_root_received
        if pending.late:
            return min(latest, pending.last_seen + (after_root or 0.0))
        if pending.has_root and after_root is not None:
            return min(latest, pending.last_seen + after_root)
        return latest

    def _fitting(self, pending: PendingTrace, fragment: Fragment) -> Fragment:
        """Return what of a fragment is within the cap of its trace."""
        if fragment.is_log:
            return fragment
        most_bytes, most_spans = self._limits.maximum_trace_size_bytes, self._limits.maximum_trace_spans
        too_large = 0 < most_bytes < pending.size + len(fragment.payload)
        if not too_large and not 0 < most_spans < pending.spans + fragment.spans:
            return fragment
        spans = most_spans - pending.spans if most_spans else fragment.spans
        size = most_bytes - pending.size if most_bytes else len(fragment.payload)
        return cut(fragment, max(0, spans), max(0, size))

    def _cause(self, pending: PendingTrace) -> Cause:
        if pending.late:
            return "late"
        return "root" if pending.has_root and self._limits.wait_duration_after_root_received is not None else "wait"
