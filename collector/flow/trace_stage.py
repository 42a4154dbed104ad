"""The trace stage: the processors that see a whole trace, in the order of the configuration."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.types import Trace, TraceProcessor, span_count

log = logging.getLogger(__name__)

TRUNCATED_TAG = "spanbridge.truncated_spans"
"""On a trace beyond its cap: how many spans of how many were dropped."""


@dataclass(frozen=True, slots=True)
class TraceStage:
    """A trace processor under its component id; `counts` is False for one that has counted its items at the head."""

    name: str
    process: TraceProcessor
    counts: bool = True


class TraceStages:
    """The stages in turn, with what each got and left counted."""

    def __init__(self, stages: Sequence[TraceStage], telemetry: Telemetry) -> None:
        self._stages = stages
        self._errors = telemetry.processor_errors
        self._counters = {
            stage.name: (
                telemetry.incoming_items.labels(stage.name, "traces"),
                telemetry.outgoing_items.labels(stage.name, "traces"),
            )
            for stage in stages
        }

    def __call__(self, trace: Trace, spans: int) -> Trace | None:
        """Return what the stages leave of a trace, None if one of them drops it.

        Args:
            trace: The trace; it is edited in place.
            spans: How many came for it, repetitions included.
        """
        left: Trace | None = trace
        for stage in self._stages:
            if left is None:
                return None
            left = self._run(stage, left)
            if stage.counts:
                incoming, outgoing = self._counters[stage.name]
                incoming.inc(spans)
                outgoing.inc(span_count(left.batch) if left is not None else 0)
        return left

    def _run(self, stage: TraceStage, trace: Trace) -> Trace | None:
        """Run one stage. A fault is counted and costs the trace that processor's work, never the trace itself."""
        try:
            return stage.process(trace)
        except Exception:
            log.exception("processor %s failed; the trace goes on without it", stage.name)
            self._errors.labels(stage.name).inc()
            return trace


def truncated(trace: Trace, dropped: int) -> Trace:
    """Return the trace, marked if it was larger than allowed: `dropped` is how many of its spans are not in it."""
    if dropped:
        trace.tags[TRUNCATED_TAG] = f"{dropped} of {dropped + span_count(trace.batch)}"
    return trace
