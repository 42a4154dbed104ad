"""`tail_sampling` as a stage on traces: decides, or follows what was decided for an earlier part, and counts.

Metrics are contrib's (tailsamplingprocessor/metadata.yaml). A decision is noted with the trace, and the journal keeps
the note, so that late spans share the fate of their trace after a restart too.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson
from prometheus_client import Counter

from spanbridge.collector.flow.assembly import AssemblyLimits, PendingTrace
from spanbridge.collector.flow.processors.stages import FlowContext, FlowStages
from spanbridge.collector.flow.processors.tail_sampling_metrics import TailSamplingMetrics
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.processors.tail_sampling import Decision, TailSampler, TailSamplingConfig, mark
from spanbridge.processors.types import Trace


class TailSampling:
    """A `TraceProcessor`, and what the flow asks it besides. Times are in seconds."""

    def __init__(
        self, config: TailSamplingConfig, released_traces: ReleasedTraces, metrics: TailSamplingMetrics
    ) -> None:
        self._sampler = TailSampler(config, time.monotonic, self._on_policy)
        self._early = config.sampling_strategy == "span-ingest"
        self._drop_evicted = config.on_eviction == "drop"
        self._released_traces = released_traces
        self._metrics = metrics
        self._asked: dict[bytes, int] = {}  # the size of each pending trace when it was last asked for
        self._counters: dict[tuple[str, str], tuple[Counter, Counter]] = {}

    def __call__(self, trace: Trace) -> Trace | None:
        """Return the trace with its policy and weight written on it, or None to drop it."""
        note = self._released_traces.note(trace.trace_id)
        decision = read_note(note) if note else self._decide(trace)
        if not decision.sampled:
            return None
        mark(trace, decision)
        return trace

    def watch(self, waiting: Callable[[], int]) -> None:
        """Show on /metrics how many traces wait for a decision."""
        self._metrics.traces_on_memory.set_function(waiting)

    def wants(self, pending: PendingTrace) -> bool:
        """Return whether the spans that have come so far settle the matter (sampling_strategy span-ingest).

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
        metrics = self._metrics
        metrics.trace_removal_age.observe(now - pending.first_seen)
        note = self._released_traces.note(pending.trace_id)
        if note:
            metrics.early_releases.labels(_label(sampled=read_note(note).sampled)).inc(pending.spans)
        elif not pending.late:
            metrics.new_traces.inc()
        if pending.cause != "evicted":
            return True
        metrics.dropped_too_early.inc()
        if self._drop_evicted and not note:
            self._conclude(pending.trace_id, Decision("dropped"))
            return False
        return True

    def _decide(self, trace: Trace) -> Decision:
        started = time.perf_counter()
        decision = self._sampler.decide(trace)
        self._metrics.decision_latency.observe((time.perf_counter() - started) * 1e6)
        self._conclude(trace.trace_id, decision)
        return decision

    def _conclude(self, trace_id: bytes, decision: Decision) -> None:
        self._metrics.global_traces_sampled.labels(_label(sampled=decision.sampled), decision.outcome).inc()
        self._released_traces.put(trace_id, write_note(decision), dropped=not decision.sampled)

    def _on_policy(self, policy: str, answer: str, spans: int) -> None:
        if answer == "error":
            self._metrics.policy_errors.inc()
            return
        counters = self._counters.get((policy, answer))
        if counters is None:
            labels = (policy, _label(sampled=answer == "sampled"), answer)
            found = (self._metrics.policy_traces_sampled, self._metrics.policy_spans_sampled)
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


def build(config: TailSamplingConfig, context: FlowContext) -> FlowStages:
    """Return the stage that decides, and when a trace is decided on."""
    released_traces, cache = context.released_traces, config.decision_cache
    released_traces.kept_size = max(released_traces.kept_size, cache.sampled_cache_size)
    released_traces.dropped_size = max(released_traces.dropped_size, cache.non_sampled_cache_size)
    sampling = TailSampling(config, released_traces, TailSamplingMetrics(context.metrics))
    return FlowStages(trace=sampling, assembly=assembly_limits(config), sampling=sampling)


def assembly_limits(config: TailSamplingConfig) -> AssemblyLimits:
    """Return when a trace is whole enough to be decided on."""
    return AssemblyLimits(
        wait_duration=config.decision_wait,
        wait_duration_after_root_received=config.decision_wait_after_root_received or None,
        num_traces=config.num_traces,
        maximum_trace_size_bytes=config.maximum_trace_size_bytes,
        maximum_trace_spans=config.maximum_trace_spans,
        block_on_overflow=config.block_on_overflow,
        drop_pending_traces_on_shutdown=config.drop_pending_traces_on_shutdown,
    )
