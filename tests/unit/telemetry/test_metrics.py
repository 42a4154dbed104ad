"""/metrics as the Collector writes it, read back by Prometheus's own parser."""

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from spanbridge.collector.telemetry.metrics import Telemetry, render
from spanbridge.collector.telemetry.process_metrics import ProcessMetrics


def samples(registry, **options):
    """Samples by name as written and labels. The parser itself names all counters `_total`, so names are read apart."""
    text = render(registry, **options).decode()
    families = text_string_to_metric_families(text)
    written = {line.partition("{")[0].partition(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    names = {name if name in written else name.removesuffix("_total") for name in written}
    return {
        (s.name if s.name in names else s.name.removesuffix("_total"), tuple(s.labels.items())): s.value
        for family in families
        for s in family.samples
    }


@pytest.mark.parametrize(("total", "name"), [(False, "otelcol_x"), (True, "otelcol_x_total")])
def test_counters_with_and_without_total(total, name):
    telemetry = Telemetry(CollectorRegistry())
    telemetry.accepted_spans.labels("otlp", "grpc").inc(3)
    expected = "otelcol_receiver_accepted_spans" + name.removeprefix("otelcol_x")
    found = samples(telemetry.registry, total_suffix=total)
    assert found[expected, (("receiver", "otlp"), ("transport", "grpc"))] == 3
    assert not any(key.endswith("_created") for key, _ in found)


def test_histograms_keep_their_parts():
    telemetry = Telemetry(CollectorRegistry())
    telemetry.delivery_latency.labels("mlflow").observe(0.2)
    found = samples(telemetry.registry, total_suffix=False)
    name = "spanbridge_delivery_latency_seconds"
    assert found[f"{name}_count", (("exporter", "mlflow"),)] == 1
    assert found[f"{name}_bucket", (("exporter", "mlflow"), ("le", "0.25"))] == 1
    assert found[f"{name}_bucket", (("exporter", "mlflow"), ("le", "0.1"))] == 0


def test_labels_can_not_break_out_of_their_quotes():
    telemetry = Telemetry(CollectorRegistry())
    hostile = 'x"} 1\nfake_metric 7\\'
    telemetry.set_aside_spans.labels("mlflow", hostile).inc()
    found = samples(telemetry.registry, total_suffix=False)
    assert found["spanbridge_set_aside_spans", (("exporter", "mlflow"), ("reason", hostile))] == 1
    assert not any(name == "fake_metric" for name, _ in found)


def test_the_process_is_measured():
    registry = CollectorRegistry()
    registry.register(ProcessMetrics("1.2.3"))
    found = samples(registry, total_suffix=False)
    assert found["otelcol_process_memory_rss", ()] > 1 << 20
    assert found["otelcol_process_cpu_seconds", ()] > 0
    assert found["target_info", (("service_name", "spanbridge"), ("service_version", "1.2.3"))] == 1


def test_two_telemetries_share_nothing():
    one, two = Telemetry(CollectorRegistry()), Telemetry(CollectorRegistry())
    one.components.counter("own", "Of one component.").inc()
    assert one.registry.get_sample_value("own_total") == 1
    assert two.registry.get_sample_value("own_total") is None


def test_a_component_in_two_pipelines_counts_in_one_metric():
    telemetry = Telemetry(CollectorRegistry())
    for _ in range(2):
        telemetry.components.counter("own", "Of one component.", "rule").labels("a").inc()
    assert samples(telemetry.registry, total_suffix=False)["own", (("rule", "a"),)] == 2
