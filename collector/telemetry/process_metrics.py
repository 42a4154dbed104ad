"""The process's own metrics, read when scraped, under the Collector's names (service/internal/proctelemetry)."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spanbridge.collector.telemetry.processes import cpu_seconds, resident_memory


class ProcessMetrics(Collector):
    """A collector of uptime (s), CPU time (s) and resident memory (bytes), the latter two with all child processes.

    Args:
        version: The program's, shown as a label of `target_info`.
    """

    def __init__(self, version: str) -> None:
        self._version = version
        self._started = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as of now."""
        resident = resident_memory()
        yield CounterMetricFamily(
            "otelcol_process_uptime", "Seconds since the start.", value=time.monotonic() - self._started
        )
        yield CounterMetricFamily("otelcol_process_cpu_seconds", "CPU seconds, user and system.", value=cpu_seconds())
        yield GaugeMetricFamily("otelcol_process_memory_rss", "Resident bytes.", value=resident)
        yield GaugeMetricFamily("otelcol_process_runtime_total_sys_memory_bytes", "Resident bytes.", value=resident)
        target = GaugeMetricFamily("target_info", "What this is.", labels=["service_name", "service_version"])
        target.add_metric(["spanbridge", self._version], 1)
        yield target
