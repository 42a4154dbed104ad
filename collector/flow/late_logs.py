"""Traces that were handed on a moment ago, kept for the log records that come after their spans."""

from __future__ import annotations

from collections import OrderedDict

from spanbridge.collector.flow.assembly import Pending

SECONDS = 30.0
BYTES = 16 << 20


class LateLogs:
    """The serialized spans of the latest traces, within `SECONDS` and `BYTES`."""

    def __init__(self) -> None:
        self._traces: OrderedDict[bytes, tuple[float, list[bytes]]] = OrderedDict()
        self._bytes = 0

    def complete(self, pending: Pending, now: float) -> None:
        """Give a late part that holds log records the spans that went before it, and remember a part with spans."""
        self._forget(now)
        before = self._traces.get(pending.trace_id)
        if pending.late and pending.logs and before is not None:
            pending.fragments = [*before[1], *pending.fragments]
        if pending.fragments and not pending.logs:
            self._keep(pending, now)

    def _keep(self, pending: Pending, now: float) -> None:
        _, before = self._traces.pop(pending.trace_id, (now, []))
        self._traces[pending.trace_id] = (now, [*before, *pending.fragments])
        self._bytes += sum(map(len, pending.fragments))

    def _forget(self, now: float) -> None:
        while self._traces:
            trace_id, (since, kept) = next(iter(self._traces.items()))
            if now - since < SECONDS and self._bytes <= BYTES:
                return
            del self._traces[trace_id]
            self._bytes -= sum(map(len, kept))
