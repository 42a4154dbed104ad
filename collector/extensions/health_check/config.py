"""The section of `health_check` (contrib extension/healthcheckextension and healthcheckv2extension)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from spanbridge.collector.net.tls import TlsServerConfig
from spanbridge.collector.settings import Enabled, Endpoint, UrlPath
from spanbridge.processors.settings import ConfigModel

if TYPE_CHECKING:
    from typing import Self

DEFAULT_HEALTH_ENDPOINT = "localhost:13133"

_DESTINATIONS = "health never depends on a destination: an outage is no reason to be restarted."
_ENDPOINT = "Where to listen, host:port; no host means every interface."
_TLS = "TLS of the page; without it plain HTTP is served."


class HealthPageConfig(ConfigModel):
    """One page of the second version's HTTP server."""

    enabled: bool = Field(default=True, description="Whether the page is served.")
    path: UrlPath = Field(default="/status", description="The path of the page.")


class HealthConfigPageConfig(ConfigModel):
    """The page that would show the configuration."""

    enabled: bool = Field(default=False, description="Without effect here: the configuration is never shown.")
    path: UrlPath = Field(default="/config", description="Without effect here: the configuration is never shown.")


class HealthHttpConfig(ConfigModel):
    """`http` of the second version."""

    NOTES: ClassVar[Mapping[str, str]] = {"config": "the configuration is never shown."}

    endpoint: Endpoint = Field(default=DEFAULT_HEALTH_ENDPOINT, description=_ENDPOINT)
    tls: TlsServerConfig | None = Field(default=None, description=_TLS)
    status: HealthPageConfig = Field(
        default=HealthPageConfig(), description="The page that answers with the state: 200 when ready, else 503."
    )
    config: HealthConfigPageConfig = Field(
        default=HealthConfigPageConfig(), description="Without effect here: the configuration is never shown."
    )


class ResponseBodyConfig(ConfigModel):
    """`response_body`: what is answered in place of the usual JSON."""

    healthy: str = Field(default="", description="The text while ready; empty for the usual JSON.")
    unhealthy: str = Field(default="", description="The text while not ready; empty for the usual JSON.")


class HealthCheckConfig(ConfigModel):
    """`health_check` and, with `use_v2`, the second version, which Collectors also call `healthcheckv2`."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "check_collector_pipeline": _DESTINATIONS,
        "component_health": _DESTINATIONS,
        "grpc": "health over gRPC is served where the otlp receiver listens.",
    }

    endpoint: Endpoint = Field(default=DEFAULT_HEALTH_ENDPOINT, description=_ENDPOINT)
    path: UrlPath = Field(
        default="/",
        description="The page that answers 200 when the bridge accepts spans, else 503. /readyz does too, and /livez "
        "answers as long as the program lives.",
    )
    tls: TlsServerConfig | None = Field(default=None, description=_TLS)
    response_body: ResponseBodyConfig = Field(
        default=ResponseBodyConfig(), description="What the page says in place of the usual JSON."
    )
    check_collector_pipeline: dict[str, Any] = Field(
        default_factory=dict, description="Without effect here: " + _DESTINATIONS
    )
    use_v2: bool = Field(
        default=False,
        description="Whether http is served, as the second version of the extension does, in place of "
        "endpoint and path.",
    )
    http: Annotated[HealthHttpConfig | None, Enabled] = Field(
        default=None, description="The HTTP server of the second version; needs use_v2. Null or {} means its defaults."
    )
    grpc: dict[str, Any] | None = Field(
        default=None, description="Without effect here: health over gRPC is served where the otlp receiver listens."
    )
    component_health: dict[str, Any] = Field(default_factory=dict, description="Without effect here: " + _DESTINATIONS)

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
