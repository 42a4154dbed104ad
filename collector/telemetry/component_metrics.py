"""Where components declare the metrics that are their own, on the program's registry.

What every component of a kind has (items in and out, sends, queues) is in `metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.registry import Collector

Metric = TypeVar("Metric", Counter, Gauge, Histogram)


class ComponentMetrics:
    """Declares metrics, each name once: a component that is in two pipelines counts in one metric."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._declared: dict[str, Counter | Gauge | Histogram] = {}

    def counter(self, name: str, help_: str, *labels: str) -> Counter:
        """Return the counter of a name; its labels are given in this order."""
        return self._once(name, lambda: Counter(name, help_, labels, registry=self._registry))

    def gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        """Return the gauge of a name; its labels are given in this order."""
        return self._once(name, lambda: Gauge(name, help_, labels, registry=self._registry))

    def histogram(self, name: str, help_: str, buckets: Sequence[float]) -> Histogram:
        """Return the histogram of a name; `buckets` are upper bounds in its unit, ascending."""
        return self._once(name, lambda: Histogram(name, help_, buckets=buckets, registry=self._registry))

    def register(self, families: Collector) -> None:
        """Add a source of metrics that is asked for them at each scrape."""
        self._registry.register(families)

    def _once(self, name: str, declare: Callable[[], Metric]) -> Metric:
        if name not in self._declared:
            self._declared[name] = declare()
        return self._declared[name]  # type: ignore[return-value]  # one name, one kind
