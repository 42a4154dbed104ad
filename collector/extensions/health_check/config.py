"""Sections of the extensions: file_storage and health_check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from spanbridge.collector.net.tls import TlsServerConfig
from spanbridge.collector.settings import Enabled, Endpoint, UrlPath
from spanbridge.processors.settings import ConfigModel, Duration

if TYPE_CHECKING:
    from typing import Self

DEFAULT_HEALTH_ENDPOINT = "localhost:13133"


class CompactionConfig(ConfigModel):
    """`file_storage.compaction`: read so that the Collector's configuration is accepted."""

    directory: str = ""
    on_start: bool = False
    on_rebound: bool = False
    rebound_needed_threshold_mib: NonNegativeInt = 100
    rebound_trigger_threshold_mib: NonNegativeInt = 10
    max_transaction_size: NonNegativeInt = 65536
    check_interval: Duration = 5.0
    cleanup_on_start: bool = False


class FileStorageConfig(ConfigModel):
    """`file_storage`: the directory of the journals. It must exist unless `create_directory` is set.

    With `fsync` a commit survives a power loss too, not the end of the process alone.
    """

    NOTES: ClassVar[Mapping[str, str]] = {
        "compaction": "the journal uses freed space again and needs no compaction.",
        "recreate": "a journal that is corrupt is always moved aside, counted and begun anew.",
        "timeout": "a journal that another process has open is refused at once.",
    }

    directory: str = Field(default="/var/lib/otelcol/file_storage", min_length=1)
    timeout: Duration = 1.0
    create_directory: bool = False
    directory_permissions: str = "0750"
    fsync: bool = False
    recreate: bool = False
    compaction: CompactionConfig = CompactionConfig()

    @field_validator("directory_permissions")
    @classmethod
    def _is_octal(cls, value: str) -> str:
        try:
            valid = 0 <= int(value, 8) < 1 << 9
        except ValueError:
            valid = False
        if not valid:
            raise ValueError('must be file permissions in octal, for example "0750"')
        return value

    @property
    def mode(self) -> int:
        """`directory_permissions` as `os.mkdir` takes them."""
        return int(self.directory_permissions, 8)


class HealthPageConfig(ConfigModel):
    """One page of the second version's HTTP server."""

    enabled: bool = True
    path: UrlPath = "/status"


class HealthConfigPageConfig(ConfigModel):
    """The page that would show the configuration."""

    enabled: bool = False
    path: UrlPath = "/config"


class HealthHttpConfig(ConfigModel):
    """`http` of the second version."""

    NOTES: ClassVar[Mapping[str, str]] = {"config": "the configuration is never shown."}

    endpoint: Endpoint = DEFAULT_HEALTH_ENDPOINT
    tls: TlsServerConfig | None = None
    status: HealthPageConfig = HealthPageConfig()
    config: HealthConfigPageConfig = HealthConfigPageConfig()


class ResponseBodyConfig(ConfigModel):
    """`response_body`: what is answered in place of the usual JSON."""

    healthy: str = ""
    unhealthy: str = ""


class HealthCheckConfig(ConfigModel):
    """`health_check` and, with `use_v2`, the second version, which Collectors also call `healthcheckv2`."""

    _DESTINATIONS: ClassVar[str] = "health never depends on a destination: an outage is no reason to be restarted."
    NOTES: ClassVar[Mapping[str, str]] = {
        "check_collector_pipeline": _DESTINATIONS,
        "component_health": _DESTINATIONS,
        "grpc": "health over gRPC is served where the otlp receiver listens.",
    }

    endpoint: Endpoint = DEFAULT_HEALTH_ENDPOINT
    path: UrlPath = "/"
    tls: TlsServerConfig | None = None
    response_body: ResponseBodyConfig = ResponseBodyConfig()
    check_collector_pipeline: dict[str, Any] = Field(default_factory=dict)
    use_v2: bool = False
    http: Annotated[HealthHttpConfig | None, Enabled] = None
    grpc: dict[str, Any] | None = None
    component_health: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_a_server(self) -> Self:
        if self.use_v2 and self.http is None:
            raise ValueError("use_v2 needs http; `http: {}` listens on localhost:13133")
        if not self.use_v2 and self.http is not None:
            raise ValueError("http counts with use_v2 alone; set `use_v2: true` or use endpoint and path")
        return self

    @property
    def listen(self) -> str:
        """The endpoint that counts."""
        return self.http.endpoint if self.http else self.endpoint

    @property
    def listen_tls(self) -> TlsServerConfig | None:
        """The TLS that counts; None for plain HTTP."""
        return self.http.tls if self.http else self.tls

    @property
    def status_path(self) -> str | None:
        """The path that answers with the state; None when it is switched off."""
        if self.http is None:
            return self.path
        return self.http.status.path if self.http.status.enabled else None
