"""The `service` section: extensions, pipelines and the program's own telemetry (otelconftelemetry)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from spanbridge.collector.settings import AnyCase, Endpoint, host_and_port
from spanbridge.processors.settings import ConfigModel, Duration

if TYPE_CHECKING:
    from typing import Self

_STDERR = "the log goes to standard error, one line a message."
_NO_LOG_KEY = "Without effect here: " + _STDERR


@dataclass(frozen=True, slots=True)
class MetricsEndpoint:
    """Where /metrics is served. `total_suffix`: whether counters end in `_total`."""

    host: str
    port: int
    total_suffix: bool


class PrometheusConfig(ConfigModel):
    """`prometheus` of a pull reader. A reader that is configured writes `_total`, the default one does not."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "with_resource_constant_labels": "resource attributes are not added to each metric.",
        "without_scope_info": "metrics carry no scope.",
        "without_units": "names carry no unit but what is part of them.",
    }

    host: str = Field(default="localhost", description="Where /metrics is served; empty for every interface.")
    port: int = Field(default=8888, ge=0, le=65535, description="The port of /metrics.")
    without_type_suffix: bool = Field(
        default=False, description="Whether counters go without `_total`, as those of the default reader do."
    )
    without_units: bool = Field(
        default=True, description="Without effect here: names carry no unit but what is part of them."
    )
    without_scope_info: bool = Field(default=True, description="Without effect here: metrics carry no scope.")
    with_resource_constant_labels: dict[str, Any] | None = Field(
        default=None, description="Without effect here: resource attributes are not added to each metric."
    )


class PullExporterConfig(ConfigModel):
    """`exporter` of a pull reader."""

    prometheus: PrometheusConfig = Field(
        default=PrometheusConfig(), description="Where and how metrics are served for Prometheus."
    )


class PullReaderConfig(ConfigModel):
    """`pull`: metrics are fetched."""

    exporter: PullExporterConfig = Field(default=PullExporterConfig(), description="How metrics are served.")


class MetricReaderConfig(ConfigModel):
    """One of `metrics.readers`."""

    pull: PullReaderConfig = Field(
        description="Metrics are fetched. The Collector's other kind, periodic, sends them and is refused."
    )

    @model_validator(mode="before")
    @classmethod
    def _only_pull(cls, value: Any) -> Any:
        if isinstance(value, dict) and "periodic" in value:
            raise ValueError("metrics are served for Prometheus to fetch, not sent; use pull in place of periodic")
        return value


class MetricsConfig(ConfigModel):
    """`telemetry.metrics`: the program's own metrics."""

    NOTES: ClassVar[Mapping[str, str]] = {"views": "metrics can't be reshaped; drop or rename them in Prometheus."}

    level: Annotated[Literal["none", "basic", "normal", "detailed"], AnyCase] = Field(
        default="normal", description="none serves no metrics; all others serve all of them."
    )
    address: Endpoint | None = Field(
        default=None,
        description="Where /metrics is served, host:port, as Collectors before v0.123 write it; localhost:8888 without "
        "it and readers.",
    )
    readers: tuple[MetricReaderConfig, ...] | None = Field(
        default=None, description="Where and how metrics are served: one reader, which pulls."
    )
    views: tuple[Any, ...] | None = Field(
        default=None, description="Without effect here: metrics can't be reshaped; drop or rename them in Prometheus."
    )

    @model_validator(mode="after")
    def _one_reader(self) -> Self:
        if self.readers is not None and self.address is not None:
            raise ValueError("address and readers exclude each other; keep readers")
        if self.readers is not None and len(self.readers) > 1:
            raise ValueError("readers: one is served; take the others out")
        if self.readers == () and self.level != "none":
            raise ValueError("readers: one is needed unless level is none")
        return self

    @property
    def endpoint(self) -> MetricsEndpoint | None:
        """Where to serve; None means nowhere."""
        if self.level == "none":
            return None
        if self.readers:
            reader = self.readers[0].pull.exporter.prometheus
            return MetricsEndpoint(reader.host, reader.port, not reader.without_type_suffix)
        host, port = host_and_port(self.address or "localhost:8888")
        return MetricsEndpoint(host, port, total_suffix=False)


class LogsConfig(ConfigModel):
    """`telemetry.logs`; levels are zap's."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "development": _STDERR,
        "disable_caller": _STDERR,
        "disable_stacktrace": _STDERR,
        "error_output_paths": _STDERR,
        "initial_fields": _STDERR,
        "output_paths": _STDERR,
        "processors": _STDERR,
        "sampling": "messages that would repeat are counted as metrics, not logged; nothing is sampled.",
    }

    level: Annotated[Literal["debug", "info", "warn", "error", "dpanic", "panic", "fatal"], AnyCase] = Field(
        default="info", description="The least severity that is written; dpanic, panic and fatal are all the highest."
    )
    encoding: Literal["console", "json"] = Field(
        default="console", description="The form of a line: for a person (console), or an object (json)."
    )
    development: bool = Field(default=False, description=_NO_LOG_KEY)
    disable_caller: bool = Field(default=False, description=_NO_LOG_KEY)
    disable_stacktrace: bool = Field(default=False, description=_NO_LOG_KEY)
    error_output_paths: tuple[str, ...] = Field(default=("stderr",), description=_NO_LOG_KEY)
    initial_fields: dict[str, Any] = Field(default_factory=dict, description=_NO_LOG_KEY)
    output_paths: tuple[str, ...] = Field(default=("stderr",), description=_NO_LOG_KEY)
    processors: tuple[Any, ...] = Field(default=(), description=_NO_LOG_KEY)
    sampling: dict[str, Any] | None = Field(
        default=None,
        description="Without effect here: messages that would repeat are counted as metrics; nothing is sampled.",
    )

    @property
    def severity(self) -> int:
        """`level` as the standard library's logging counts."""
        levels = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
        return levels.get(self.level, logging.CRITICAL)


class TelemetryConfig(ConfigModel):
    """`service.telemetry`."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "resource": "the program's own telemetry carries no resource attributes of choice.",
        "traces": "the program makes no spans of its own.",
    }

    metrics: MetricsConfig = Field(default=MetricsConfig(), description="The program's own metrics.")
    logs: LogsConfig = Field(default=LogsConfig(), description="The program's own log.")
    resource: dict[str, Any] = Field(
        default_factory=dict,
        description="Without effect here: the program's own telemetry carries no resource attributes of choice.",
    )
    traces: dict[str, Any] = Field(
        default_factory=dict, description="Without effect here: the program makes no spans of its own."
    )


class PipelineSection(ConfigModel):
    """One of `service.pipelines` as it is written: component ids."""

    receivers: tuple[str, ...] = Field(default=(), description="The ids of the receivers that feed it; at least one.")
    processors: tuple[str, ...] = Field(
        default=(),
        description="The ids of its processors, in the order in which they run. What stands before groupbytrace or "
        "tail_sampling runs before the disk.",
    )
    exporters: tuple[str, ...] = Field(
        default=(), description="The ids of the exporters that each get all of its traces; at least one."
    )


class ServiceConfig(ConfigModel):
    """`service`. What pipelines become is in `Config.pipelines`."""

    extensions: tuple[str, ...] = Field(
        default=(), description="The ids of the extensions that are used; others are configured in vain."
    )
    pipelines: dict[str, PipelineSection] = Field(
        default_factory=dict,
        description="The pipelines by id: traces, logs, or either with a name, such as traces/2. A logs pipeline ends "
        "in the journal of a traces pipeline that shares an exporter with it.",
    )
    telemetry: TelemetryConfig = Field(default=TelemetryConfig(), description="What the program tells of itself.")
    shutdown_timeout: Duration = Field(
        default=20.0,
        description="How long a SIGTERM waits for what can still be delivered; the rest stays in the journal. The "
        "Collector has no such key. Keep it below the pod's grace period, which is 30s by default.",
    )
