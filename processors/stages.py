"""The contract of a configured processor: what its builder is given, and the stages that it comes to.

A processor is a file or a folder here: a config model, and a builder `(config, context) -> Stages`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from spanbridge.processors.types import Batch, Processor, Request, TraceProcessor

RequestProcessor: TypeAlias = Callable[[Request], Request]
"""A processor of requests, before the disk; may edit the request in place. What is empty then goes no further."""


class Counter(Protocol):
    """A counter, or one series of it once its labels are given."""

    def labels(self, *values: str) -> Counter:
        """Return the series with these labels, given in the order in which they were declared."""

    def inc(self, amount: float = 1) -> None:
        """Count up."""


class MetricFamilies(Protocol):
    """A source of metrics that is asked for them whenever they are read; prometheus_client calls it a collector."""

    def collect(self) -> Iterable[Any]:
        """Return the metric families as they are now."""


class Metrics(Protocol):
    """Where a component declares the metrics that are its own."""

    def counter(self, name: str, help_: str, *labels: str) -> Counter:
        """Return the counter of a name: one for all that declare it, such as the same processor in two pipelines."""

    def register(self, families: MetricFamilies) -> None:
        """Add a source of metrics."""


@dataclass(frozen=True, slots=True)
class BuildContext:
    """What a processor may need besides its section: its component id, where it counts, the environment."""

    component_id: str
    metrics: Metrics
    environ: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stages:
    """What a processor does, and where: on requests before the disk (`head`), on whole traces (`trace`), or both.

    A head stage that `observes` changes nothing. It is called with what came to it once the request is committed, so
    that a request which its sender has to repeat is not counted twice.
    """

    head: RequestProcessor | None = None
    trace: TraceProcessor | None = None
    observes: bool = False


Builder: TypeAlias = Callable[[Any, Any], Stages]
"""Makes the stages of a config model and a `BuildContext`; those that steer the flow want the flow's own context."""


def spans_only(process: Processor) -> RequestProcessor:
    """Return a head processor that does `process` to spans and lets log records pass."""

    def stage(request: Request) -> Request:
        return process(request) if isinstance(request, Batch) else request

    return stage
