"""The metrics of `tail_sampling`, named as contrib names them (tailsamplingprocessor/metadata.yaml)."""

from __future__ import annotations

from prometheus_client import Counter

from spanbridge.collector.telemetry.component_metrics import ComponentMetrics
from spanbridge.collector.telemetry.metrics import LATENCY_BUCKETS

DECISION_BUCKETS = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 100_000)
"""Upper bounds in microseconds."""

_PREFIX = "otelcol_processor_tail_sampling_"


class TailSamplingMetrics:
    """The metrics, as attributes; labels are given in the order in which they are declared here."""

    def __init__(self, declare: ComponentMetrics) -> None:
        def counter(name: str, help_: str, *labels: str) -> Counter:
            return declare.counter(_PREFIX + name, help_, *labels)

        policy = ("policy", "sampled", "decision")
        self.policy_traces_sampled = counter("count_traces_sampled", "Answers of a policy, in traces.", *policy)
        self.policy_spans_sampled = counter("count_spans_sampled", "Answers of a policy, in spans.", *policy)
        self.global_traces_sampled = counter("global_count_traces_sampled", "Decisions.", "sampled", "decision")
        self.new_traces = counter("new_trace_id_received", "Traces seen for the first time.")
        self.policy_errors = counter("sampling_policy_evaluation_error", "Policies that could not answer.")
        self.dropped_too_early = counter("sampling_trace_dropped_too_early", "Traces that had to go early.")
        self.early_releases = counter(
            "early_releases_from_cache_decision", "Late spans that followed a decision.", "sampled"
        )
        self.traces_on_memory = declare.gauge(_PREFIX + "sampling_traces_on_memory", "Traces waiting for a decision.")
        self.trace_removal_age = declare.histogram(
            _PREFIX + "sampling_trace_removal_age", "From a trace's first span to its decision, in s.", LATENCY_BUCKETS
        )
        self.decision_latency = declare.histogram(
            _PREFIX + "sampling_decision_latency", "Of one decision, in us.", DECISION_BUCKETS
        )
