"""`tail_sampling` as a stage on traces: decides, or follows what was decided for an earlier part, and counts.

Metrics are contrib's (tailsamplingprocessor/metadata.yaml). A decision is noted with the trace, and the journal keeps
the note, so that late spans share the fate of their trace after a restart too.
"""

from __future__ import annotations

import time

import orjson
from prometheus_client import Counter

from spanbridge.collector.flow.assembly import PendingTrace
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.tail_sampling import Decision, TailSampler, TailSamplingConfig, mark
from spanbridge.processors.types import Trace


class TailSampling:
    """A `TraceProcessor`, and what the flow asks it besides. Times are in seconds."""

    def __init__(self, config: TailSamplingConfig, released_traces: ReleasedTraces, telemetry: Telemetry) -> None:
        self._sampler = TailSampler(config, time.monotonic, self._on_policy)
        self._early = config.sampling_strategy == "span-ingest"
        self._drop_evicted = config.on_eviction == "drop"
        self._released_traces = released_traces
        self._telemetry = telemetry
        self._asked: dict[bytes, int] = {}  # the size of each pending trace when it was last asked for
        self._counters: dict[tuple[str, str], tuple[Counter, Counter]] = {}

    def __call__(self, trace: Trace) -> Trace | None:
        """Return the trace with its policy and weight written on it, or None if it is not sampled."""
        note = self._released_traces.note(trace.trace_id)
        decision = read_note(note) if note else self._decide(trace)
        if not decision.sampled:
            return None
        mark(trace, decision)
        return trace

    def wants(self, pending: PendingTrace) -> bool:
        """Whether the spans that have come so far settle the matter (sampling_strategy span-ingest).

        A trace is looked at whenever it has doubled: at each new span, a large one would be decoded again and again.
        What is asked about here is forgotten in `released`, which every trace with spans comes to.
        """
        if not self._early or pending.late or pending.size < 2 * self._asked.get(pending.trace_id, 0):
            return False
        self._asked[pending.trace_id] = pending.size
        return self._sampler.decide_early(pending.decode()) is not None

    def released(self, pending: PendingTrace, now: float) -> bool:
        """Count a trace that is handed on.

        Args:
            pending: The trace.
            now: Seconds of the clock that its `first_seen` is of.

        Returns:
            False if it is to be dropped, as it had to go before its time.
        """
        self._asked.pop(pending.trace_id, None)
        telemetry = self._telemetry
        telemetry.trace_removal_age.observe(now - pending.first_seen)
        note = self._released_traces.note(pending.trace_id)
        if note:
            telemetry.early_releases.labels(_label(sampled=read_note(note).sampled)).inc(pending.spans)
        elif not pending.late:
            telemetry.new_traces.inc()
        if pending.cause != "evicted":
            return True
        telemetry.dropped_too_early.inc()
        if self._drop_evicted and not note:
            self._conclude(pending.trace_id, Decision("dropped"))
            return False
        return True

    def _decide(self, trace: Trace) -> Decision:
        started = time.perf_counter()
        decision = self._sampler.decide(trace)
        self._telemetry.decision_latency.observe((time.perf_counter() - started) * 1e6)
        self._conclude(trace.trace_id, decision)
        return decision

    def _conclude(self, trace_id: bytes, decision: Decision) -> None:
        self._telemetry.global_traces_sampled.labels(_label(sampled=decision.sampled), decision.outcome).inc()
        self._released_traces.put(trace_id, write_note(decision), dropped=not decision.sampled)

    def _on_policy(self, policy: str, answer: str, spans: int) -> None:
        if answer == "error":
            self._telemetry.policy_errors.inc()
            return
        counters = self._counters.get((policy, answer))
        if counters is None:
            labels = (policy, _label(sampled=answer == "sampled"), answer)
            found = (self._telemetry.policy_traces_sampled, self._telemetry.policy_spans_sampled)
            counters = self._counters[policy, answer] = (found[0].labels(*labels), found[1].labels(*labels))
        counters[0].inc()
        counters[1].inc(spans)


def write_note(decision: Decision) -> str:
    """Return a decision as text."""
    return orjson.dumps(decision).decode()


def read_note(note: str) -> Decision:
    """Return a decision from its text."""
    return Decision(**orjson.loads(note))


def _label(*, sampled: bool) -> str:
    return "true" if sampled else "false"
