"""The process's own metrics under the Collector's names (service/internal/proctelemetry), read from /proc at a scrape."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collector.memory_limiter import resident_memory


class ProcessMetrics(Collector):
    """Uptime and CPU in seconds, resident memory in bytes, and what the process is."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._started = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        """The families of this moment."""
        times = os.times()
        yield CounterMetricFamily(
            "otelcol_process_uptime", "Seconds since the start.", value=time.monotonic() - self._started
        )
        yield CounterMetricFamily(
            "otelcol_process_cpu_seconds", "CPU seconds, user and system.", value=times.user + times.system
        )
        yield GaugeMetricFamily("otelcol_process_memory_rss", "Resident bytes.", value=resident_memory())
        yield GaugeMetricFamily(
            "otelcol_process_runtime_total_sys_memory_bytes", "Resident bytes.", value=resident_memory()
        )
        target = GaugeMetricFamily("target_info", "What this is.", labels=["service_name", "service_version"])
        target.add_metric(["spanbridge", self._version], 1)
        yield target
