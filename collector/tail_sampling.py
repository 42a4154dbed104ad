"""`tail_sampling` as a stage on traces: decides, or follows what was decided for an earlier part, and counts.

Metrics are contrib's (tailsamplingprocessor/metadata.yaml). A decision is noted with the trace, and the journal keeps
the note, so that late spans share the fate of their trace after a restart too.
"""

from __future__ import annotations

import time
from dataclasses import asdict

import orjson

from collector.remembered import Remembered
from collector.telemetry import Telemetry
from processors.tail_sampling import Decision, TailSampler, TailSamplingConfig, mark
from processors.types import Trace


class TailSampling:
    """A `TraceProcessor`. `now` is in seconds."""

    def __init__(self, config: TailSamplingConfig, remembered: Remembered, telemetry: Telemetry) -> None:
        self._sampler = TailSampler(config, time.monotonic, self._on_policy)
        self._remembered = remembered
        self._telemetry = telemetry

    def __call__(self, trace: Trace) -> Trace | None:
        """The trace with its policy and weight written on it, or None."""
        note = self._remembered.note(trace.trace_id)
        decision = read_note(note) if note else self._decide(trace)
        if not decision.sampled:
            return None
        mark(trace, decision)
        return trace

    def decide_early(self, trace: Trace) -> bool:
        """Whether the spans that have come so far settle the matter (sampling_strategy span-ingest)."""
        return self._sampler.decide_early(trace) is not None

    def _decide(self, trace: Trace) -> Decision:
        started = time.perf_counter()
        decision = self._sampler.decide(trace)
        self._telemetry.decision_latency.observe((time.perf_counter() - started) * 1e6)
        sampled = str(decision.sampled).lower()
        self._telemetry.global_traces_sampled.labels(sampled, decision.outcome).inc()
        self._remembered.put(trace.trace_id, write_note(decision))
        return decision

    def _on_policy(self, policy: str, answer: str, spans: int) -> None:
        if answer == "error":
            self._telemetry.policy_errors.inc()
            return
        sampled = str(answer == "sampled").lower()
        self._telemetry.policy_traces_sampled.labels(policy, sampled, answer).inc()
        self._telemetry.policy_spans_sampled.labels(policy, sampled, answer).inc(spans)


def write_note(decision: Decision) -> str:
    """A decision as text."""
    return orjson.dumps(asdict(decision)).decode()


def read_note(note: str) -> Decision:
    """A decision from its text."""
    return Decision(**orjson.loads(note))
