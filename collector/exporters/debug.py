"""Writes what goes by to the log, as the Collector's `debug` exporter does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence

from spanbridge.collector.exporters import SerializedTrace
from spanbridge.processors.attributes import find
from spanbridge.processors.types import Batch, Trace, span_count, spans_in_context

log = logging.getLogger(__name__)


class DebugExporter:
    """`basic` logs counts, `normal` a line a span, `detailed` every field. Meant for a person at a terminal."""

    def __init__(self, verbosity: str, write: Callable[[str], None] = log.info) -> None:
        self._verbosity = verbosity
        self._write = write

    def group(self, trace: Trace) -> Hashable:
        """All traces may go together."""
        return None

    def send(self, traces: Sequence[SerializedTrace]) -> int:
        """Log; never fails."""
        batches = [Batch.FromString(trace.payload) for trace in traces]
        self._write(f"Traces: {len(traces)}, spans: {sum(map(span_count, batches))}")
        for batch in batches if self._verbosity != "basic" else ():
            if self._verbosity == "detailed":
                self._write(str(batch))
                continue
            for resource, _, span in spans_in_context(batch):
                service = find(resource.attributes, "service.name")
                name = service.string_value if service else "unknown"
                self._write(f"{name} {span.name!r} {span.trace_id.hex()} {span.span_id.hex()}")
        return 0

    def close(self) -> None:
        """Nothing to give back."""
