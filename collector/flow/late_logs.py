"""Late log records: traces that were handed on a moment ago are kept for those that come after their spans.

Some SDKs send what was said to a model as log records, on a pipeline with a timer of its own. What a processor reads
from them it writes on spans, so a part that brings log records alone has to meet its spans again; MLflow then takes the
same spans a second time, with more on them.
"""

from __future__ import annotations

from collections import OrderedDict

from spanbridge.collector.flow.assembly import PendingTrace

SECONDS = 30.0
"""How long a trace is kept."""
BYTES = 16 << 20
"""How much is kept of all traces."""


class LateLogs:
    """The serialized spans of the latest traces, within `SECONDS` and `BYTES`."""

    def __init__(self) -> None:
        self._traces: OrderedDict[bytes, tuple[float, list[bytes]]] = OrderedDict()
        self._bytes = 0

    def complete(self, pending: PendingTrace, now: float) -> None:
        """Give a late part that holds log records the spans that went before it, and keep a part that holds none.

        A part that came with log records has met them, and is not kept.
        """
        self._forget(now)
        before = self._traces.get(pending.trace_id)
        if pending.late and pending.logs and before is not None:
            pending.complete(before[1])
        if pending.fragments and not pending.logs:
            self._keep(pending, now)

    def _keep(self, pending: PendingTrace, now: float) -> None:
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
