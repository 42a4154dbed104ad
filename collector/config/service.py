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

    host: str = "localhost"
    port: int = Field(default=8888, ge=0, le=65535)
    without_type_suffix: bool = False
    without_units: bool = True
    without_scope_info: bool = True
    with_resource_constant_labels: dict[str, Any] | None = None


class PullExporterConfig(ConfigModel):
    """`exporter` of a pull reader."""

    prometheus: PrometheusConfig = PrometheusConfig()


class PullReaderConfig(ConfigModel):
    """`pull`: metrics are fetched."""

    exporter: PullExporterConfig = PullExporterConfig()


class MetricReaderConfig(ConfigModel):
    """One of `metrics.readers`."""

    pull: PullReaderConfig

    @model_validator(mode="before")
    @classmethod
    def _only_pull(cls, value: Any) -> Any:
        if isinstance(value, dict) and "periodic" in value:
            raise ValueError("metrics are served for Prometheus to fetch, not sent; use pull in place of periodic")
        return value


class MetricsConfig(ConfigModel):
    """`telemetry.metrics`. `address` is the form of Collectors before v0.123."""

    NOTES: ClassVar[Mapping[str, str]] = {"views": "metrics can't be reshaped; drop or rename them in Prometheus."}

    level: Annotated[Literal["none", "basic", "normal", "detailed"], AnyCase] = "normal"
    address: Endpoint | None = None
    readers: tuple[MetricReaderConfig, ...] | None = None
    views: tuple[Any, ...] | None = None

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

    level: Annotated[Literal["debug", "info", "warn", "error", "dpanic", "panic", "fatal"], AnyCase] = "info"
    encoding: Literal["console", "json"] = "console"
    development: bool = False
    disable_caller: bool = False
    disable_stacktrace: bool = False
    error_output_paths: tuple[str, ...] = ("stderr",)
    initial_fields: dict[str, Any] = Field(default_factory=dict)
    output_paths: tuple[str, ...] = ("stderr",)
    processors: tuple[Any, ...] = ()
    sampling: dict[str, Any] | None = None

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

    metrics: MetricsConfig = MetricsConfig()
    logs: LogsConfig = LogsConfig()
    resource: dict[str, Any] = Field(default_factory=dict)
    traces: dict[str, Any] = Field(default_factory=dict)


class PipelineSection(ConfigModel):
    """One of `service.pipelines` as it is written: component ids."""

    receivers: tuple[str, ...] = ()
    processors: tuple[str, ...] = ()
    exporters: tuple[str, ...] = ()


class ServiceConfig(ConfigModel):
    """`service`. What pipelines become is in `Config.pipelines`.

    `shutdown_timeout`, seconds, is how long a SIGTERM waits for what can still be delivered; the rest stays in the
    journal. The Collector has no such key; keep it below the grace period of the pod (30 s by default).
    """

    extensions: tuple[str, ...] = ()
    pipelines: dict[str, PipelineSection] = Field(default_factory=dict)
    telemetry: TelemetryConfig = TelemetryConfig()
    shutdown_timeout: Duration = 20.0
