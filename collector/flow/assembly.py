"""Traces under construction: spans of one trace come together until it is time to hand the trace on.

Pure: the clock is passed in. A pending trace is kept as serialized pieces, not as decoded spans: a concatenation of
serialized OTLP requests is itself a serialized request, and bytes take a fifth of the memory of decoded messages.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from spanbridge.collector.flow.fragments import Piece, cut, drop_repeats
from spanbridge.collector.flow.released_traces import Remembered
from spanbridge.collector.journal import Row, SetAside
from spanbridge.processors.types import Batch, Context, Logs, Trace

Cause: TypeAlias = Literal["root", "wait", "late", "early", "evicted", "large", "shutdown"]


@dataclass(slots=True)
class Pending:
    """A trace under construction, and later the account of it: which journal rows wait for it to be settled.

    `dropped` counts the spans beyond the cap of a trace, `asked` is its size when it was last asked whether it can be
    decided early. `open` counts the parcels of it that are under way; when it comes back to 0 the trace is settled, and
    `aside` is what was set aside of it. `foreign` counts the spans and records that came for it from a tenant with
    other rights, which are not part of it.
    """

    trace_id: bytes
    context: Context
    first_seen: float
    last_seen: float
    late: bool = False
    has_root: bool = False
    spans: int = 0
    size: int = 0
    pieces: list[bytes] = field(default_factory=list)
    logs: list[bytes] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    dropped: int = 0
    asked: int = 0
    foreign: int = 0
    cause: Cause = "wait"
    open: int = 0
    aside: list[SetAside] = field(default_factory=list)

    def add(self, piece: Piece, row: Row, now: float) -> None:
        """Take a piece in; the context of the piece that brings the root counts."""
        self.rows.append(row.id)
        if row.entry.context.allow_experiments != self.context.allow_experiments:
            # Whoever knows the id of another tenant's trace could write into it, or lead it into an own experiment.
            self.foreign += piece.spans or 1
            return
        self.last_seen = now
        if piece.has_root and not self.has_root:
            self.has_root = True
            self.context = row.entry.context
        self.dropped += piece.dropped
        if piece.payload:
            (self.logs if piece.is_log else self.pieces).append(piece.payload)
        self.spans += piece.spans
        self.size += len(piece.payload)

    def decode(self) -> Trace:
        """The whole trace, decoded."""
        batch = Batch.FromString(b"".join(self.pieces))
        if len(self.pieces) > 1:
            drop_repeats(batch)
        logs = Logs.FromString(b"".join(self.logs)) if self.logs else None
        return Trace(self.trace_id, batch, self.context, late=self.late, logs=logs)


@dataclass(frozen=True, slots=True)
class AssemblyLimits:
    """When a trace is handed on. Durations in seconds.

    `wait_duration` and `num_traces` are contrib's groupbytrace keys (decision_wait in tail_sampling), `after_root` is
    its neighbour's decision_wait_after_root_received; None waits `wait_duration` in any case. Spans of a trace beyond
    `max_bytes` and `max_spans` (0: no cap) are dropped, but for its root. `evict` says that beyond `num_traces`, or
    when memory is short, the oldest goes early; else no more are taken in. `keep_at_shutdown` leaves what is pending in
    the journal for the next start.
    """

    wait_duration: float = 30.0
    after_root: float | None = 1.0
    num_traces: int = 1_000_000
    max_bytes: int = 0
    max_spans: int = 0
    evict: bool = True
    keep_at_shutdown: bool = False


class Assembly:
    """The pending traces, each known by its id; `remembered` knows those that were handed on before."""

    def __init__(self, limits: AssemblyLimits, remembered: Remembered | None = None) -> None:
        self._limits = limits
        self._pending: OrderedDict[bytes, Pending] = OrderedDict()
        self._timers: list[tuple[float, bytes]] = []
        self._out: set[bytes] = set()
        self._remembered = remembered or Remembered()
        self.spans = 0
        self.size = 0

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def full(self) -> bool:
        """Whether no more may be taken in for now."""
        return not self._limits.evict and len(self._pending) >= self._limits.num_traces

    def add(self, row: Row, pieces: Iterable[Piece], now: float) -> None:
        """Take the pieces of a journal row in."""
        for piece in pieces:
            pending = self._pending.get(piece.trace_id) or self._start(piece.trace_id, row.entry.context, now)
            spans, size = pending.spans, pending.size
            pending.add(self._fitting(pending, piece), row, now)
            self.spans += pending.spans - spans
            self.size += pending.size - size
            if piece.has_root:
                heapq.heappush(self._timers, (self._due_at(pending), piece.trace_id))

    @property
    def keeps_the_rest(self) -> bool:
        """Whether what is pending at shutdown waits for the next start; what is with delivery is not waited for."""
        return self._limits.keep_at_shutdown and not self._out

    def pending(self, trace_id: bytes) -> Pending | None:
        """The trace as it stands, if it is here and may be handed on."""
        return None if trace_id in self._out else self._pending.get(trace_id)

    def release(self, pending: Pending, cause: Cause) -> Pending:
        """Hand on a trace at once."""
        return self._release(pending, cause)

    def due(self, now: float) -> Iterator[Pending]:
        """Hand on each trace whose time has come; one still with delivery waits for `done`: the order is kept."""
        while (pending := self.overdue(now)) is not None:
            yield self._release(pending, self._cause(pending))
        while len(self._pending) > self._limits.num_traces:
            oldest = self.evict()
            if oldest is None:
                return
            yield oldest

    def overdue(self, now: float) -> Pending | None:
        """A trace whose time has come, left where it is."""
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

    @property
    def evicts(self) -> bool:
        """Whether traces may have to go before their time."""
        return self._limits.evict

    def evict(self) -> Pending | None:
        """Hand on the oldest trace before its time; None if that is not wanted, or all are with delivery already."""
        for trace_id, pending in self._pending.items() if self._limits.evict else ():
            if trace_id not in self._out:
                return self._release(pending, "evicted")
        return None

    def drain(self) -> Iterator[Pending]:
        """Hand on everything that is not with delivery; for shutdown."""
        if self._limits.keep_at_shutdown:
            return
        for trace_id, pending in list(self._pending.items()):
            if trace_id in self._pending and trace_id not in self._out:
                yield self._release(pending, "shutdown")

    def done(self, pending: Pending) -> None:
        """The trace is settled; what came for it meanwhile is due at its own time again."""
        self._out.discard(pending.trace_id)
        waiting = self._pending.get(pending.trace_id)
        if waiting is not None:
            heapq.heappush(self._timers, (self._due_at(waiting), pending.trace_id))

    def next_due(self) -> float | None:
        """When `due` should be asked next (it may then find nothing), or None."""
        return self._timers[0][0] if self._timers else None

    def _start(self, trace_id: bytes, context: Context, now: float) -> Pending:
        owner = self._remembered.owner(trace_id)
        if owner is not None and owner.allow_experiments != context.allow_experiments:
            context = owner  # what comes late from another tenant is as foreign as what comes in time
        pending = Pending(trace_id, context, now, now, late=trace_id in self._remembered)
        self._pending[trace_id] = pending
        heapq.heappush(self._timers, (self._due_at(pending), trace_id))
        return pending

    def _due_at(self, pending: Pending) -> float:
        latest = pending.first_seen + self._limits.wait_duration
        after_root = self._limits.after_root
        if pending.late:
            return min(latest, pending.last_seen + (after_root or 0.0))
        if pending.has_root and after_root is not None:
            return min(latest, pending.last_seen + after_root)
        return latest

    def _fitting(self, pending: Pending, piece: Piece) -> Piece:
        """What of a piece is within the cap of its trace."""
        limits = self._limits
        if piece.is_log:
            return piece
        too_large = 0 < limits.max_bytes < pending.size + len(piece.payload)
        if not too_large and not 0 < limits.max_spans < pending.spans + piece.spans:
            return piece
        spans = limits.max_spans - pending.spans if limits.max_spans else piece.spans
        size = limits.max_bytes - pending.size if limits.max_bytes else len(piece.payload)
        return cut(piece, max(0, spans), max(0, size))

    def _cause(self, pending: Pending) -> Cause:
        if pending.late:
            return "late"
        return "root" if pending.has_root and self._limits.after_root is not None else "wait"

    def _release(self, pending: Pending, cause: Cause) -> Pending:
        del self._pending[pending.trace_id]
        self.spans -= pending.spans
        self.size -= pending.size
        pending.cause = cause
        self._out.add(pending.trace_id)
        if pending.pieces and not pending.late:  # without spans: those are still to come, and are not late
            self._remembered.put(pending.trace_id)
        if pending.pieces:
            self._remembered.own(pending.trace_id, pending.context)
        return pending
