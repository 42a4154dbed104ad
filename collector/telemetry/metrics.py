"""The metrics that every component of a kind has, on an injected registry, and their text form for /metrics.

What one component alone has is declared beside it, by `components`.

Names and labels are the Collector's (metadata.yaml of receiverhelper, processorhelper and exporterhelper) where it has
one, `spanbridge_*` where it has none. The Collector's default reader writes counters without `_total`, one that is
configured writes them with it: `render` does either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from spanbridge.collector.telemetry.component_metrics import ComponentMetrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry
    from prometheus_client.samples import Sample

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
"""Seconds."""


class Telemetry:
    """The metrics, as attributes; labels are given in the order in which they are declared here."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.components = ComponentMetrics(registry)

        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(name, help_, labels, registry=registry)

        def gauge(name: str, help_: str, *labels: str) -> Gauge:
            return Gauge(name, help_, labels, registry=registry)

        receiver = ("receiver", "transport")
        self.accepted_spans = counter("otelcol_receiver_accepted_spans", "Spans committed to the journal.", *receiver)
        self.refused_spans = counter(
            "otelcol_receiver_refused_spans", "Spans the sender was asked to send again.", *receiver
        )
        self.failed_spans = counter("otelcol_receiver_failed_spans", "Spans lost to an error of the bridge.", *receiver)
        self.accepted_logs = counter("otelcol_receiver_accepted_log_records", "Log records committed.", *receiver)
        self.refused_logs = counter("otelcol_receiver_refused_log_records", "Log records to be sent again.", *receiver)
        self.failed_logs = counter("otelcol_receiver_failed_log_records", "Log records lost to an error.", *receiver)
        self.requests = counter("otelcol_receiver_requests", "Requests by outcome.", *receiver, "outcome")
        self.rejected_spans = counter(
            "spanbridge_receiver_rejected_spans", "Spans with bad ids (partial success).", *receiver
        )

        self.truncated_values = counter(
            "spanbridge_receiver_truncated_values", "Attribute values that were cut.", *receiver
        )

        self.dropped_elements = counter(
            "spanbridge_receiver_dropped_elements", "Attributes, events and links beyond the limits.", *receiver
        )

        processor = ("processor", "otel_signal")
        self.incoming_items = counter("otelcol_processor_incoming_items", "Items passed to the processor.", *processor)
        self.outgoing_items = counter("otelcol_processor_outgoing_items", "Items the processor passed on.", *processor)
        self.processor_errors = counter("spanbridge_processor_errors", "Batches a processor failed on.", "processor")
        self.dropped_items = counter("spanbridge_dropped_items", "Items dropped by a rule.", "otel_signal", "reason")

        self.sent_spans = counter("otelcol_exporter_sent_spans", "Spans the destination has.", "exporter")
        self.send_failed_spans = counter(
            "otelcol_exporter_send_failed_spans", "Spans the destination refused for good.", "exporter"
        )
        self.enqueue_failed_spans = counter(
            "otelcol_exporter_enqueue_failed_spans", "Spans the journal had no room for.", "exporter"
        )
        queue = ("exporter", "data_type")
        self.queue_size = gauge("otelcol_exporter_queue_size", "Rows of the journal that are due.", *queue)
        self.queue_capacity = gauge(
            "otelcol_exporter_queue_capacity", "Bound of the queue, in its sizer's unit.", *queue
        )
        self.in_flight = gauge("otelcol_exporter_in_flight_requests", "Requests under way.", "exporter")
        self.delivery_latency = Histogram(
            "spanbridge_delivery_latency_seconds",
            "From a trace's release to its arrival.",
            ["exporter"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.retries = counter("spanbridge_delivery_retries", "Sends that failed and are repeated.", "exporter")
        self.held = gauge(
            "spanbridge_delivery_held", "1 while the destination refuses everybody (401, 403, 404).", "exporter"
        )
        self.set_aside_spans = counter(
            "spanbridge_set_aside_spans", "Spans set aside, by reason.", "exporter", "reason"
        )

        self.journal_bytes = gauge("spanbridge_journal_bytes", "Bytes of payload in the journal.", "pipeline")
        self.journal_capacity = gauge("spanbridge_journal_capacity_bytes", "Bound of the journal.", "pipeline")
        self.journal_oldest = gauge(
            "spanbridge_journal_oldest_age_seconds", "Age of the oldest row that is due.", "pipeline"
        )
        self.journal_aside = gauge(
            "spanbridge_journal_set_aside_rows", "Rows set aside and waiting for an operator.", "pipeline"
        )
        self.aside_dropped = counter(
            "spanbridge_journal_set_aside_dropped_rows", "Rows set aside that had to go for later ones.", "pipeline"
        )
        self.journal_corrupt = counter("spanbridge_journal_corrupt", "Corrupt journal files moved aside.", "pipeline")
        self.assembling_traces = gauge("spanbridge_assembling_traces", "Traces waiting for more spans.", "pipeline")
        self.assembling_spans = gauge("spanbridge_assembling_spans", "Spans of traces waiting for more.", "pipeline")
        self.truncated_spans = counter("spanbridge_truncated_spans", "Spans beyond a trace's cap.", "pipeline")
        self.released_traces = counter("spanbridge_released_traces", "Traces released, by cause.", "pipeline", "cause")


def render(registry: CollectorRegistry, *, total_suffix: bool) -> bytes:
    """Return the metrics of a registry in the Prometheus text format 0.0.4.

    Args:
        registry: What is read, by calling its collectors.
        total_suffix: Whether the names of counters end in `_total`.
    """
    lines: list[str] = []
    for family in registry.collect():
        counter_name = family.name + "_total" if total_suffix else family.name
        name = counter_name if family.type == "counter" else family.name
        kind = "untyped" if family.type == "unknown" else family.type
        lines += [f"# HELP {name} {_escaped(family.documentation)}", f"# TYPE {name} {kind}"]
        lines += _samples(family.samples, family.name + "_total", name)
    return ("\n".join(lines) + "\n").encode()


def _samples(samples: Iterable[Sample], native: str, shown: str) -> Iterable[str]:
    for sample in samples:
        if sample.name.endswith("_created"):
            continue
        labels = ",".join(f'{key}="{_escaped(value, quote=True)}"' for key, value in sample.labels.items())
        name = shown if sample.name == native else sample.name
        yield f"{name}{{{labels}}} {_number(sample.value)}" if labels else f"{name} {_number(sample.value)}"


def _number(value: float) -> str:
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(text := repr(float(value)), text)


def _escaped(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quote else text
