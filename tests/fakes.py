"""Stand-ins that obey the same contracts as the real rooms and run the same contract suites."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence

from collector.errors import Permanent, Retryable
from processors.types import Trace, spans


class MemoryExporter:
    """An `Exporter` that keeps what it gets by (trace id, span id), as MLflow does.

    `verdict` is asked before each send and may raise; `calls` is what was sent, in order.
    """

    def __init__(self, verdict: Callable[[Sequence[Trace]], None] = lambda traces: None) -> None:
        self.verdict = verdict
        self.spans: dict[tuple[bytes, bytes], str] = {}
        self.calls: list[list[bytes]] = []
        self._lock = threading.Lock()

    def group(self, trace: Trace) -> Hashable:
        return trace.context.experiment_name

    def send(self, traces: Sequence[Trace]) -> None:
        with self._lock:
            self.calls.append([trace.trace_id for trace in traces])
        self.verdict(traces)
        with self._lock:
            for trace in traces:
                for span in spans(trace.batch):
                    self.spans[(span.trace_id, span.span_id)] = span.name

    def close(self) -> None:
        pass


def refuse_spans(*names: str, error: type[Exception] = Permanent) -> Callable[[Sequence[Trace]], None]:
    """A verdict that refuses every send holding a span of these names."""

    def verdict(traces: Sequence[Trace]) -> None:
        if any(span.name in names for trace in traces for span in spans(trace.batch)):
            raise error("a span it does not like")

    return verdict


def fail_first(times: int, retry_after: float | None = None) -> Callable[[Sequence[Trace]], None]:
    """A verdict that fails the first `times` sends."""
    left = [times]

    def verdict(traces: Sequence[Trace]) -> None:
        if left[0]:
            left[0] -= 1
            raise Retryable("not now", retry_after)

    return verdict
