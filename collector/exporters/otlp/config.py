"""Sections of the exporters that hand traces on: `otlp_grpc` and `otlp_http` (otlpexporter and otlphttpexporter)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, SecretStr, field_validator, model_validator

from spanbridge.collector.exporters.config import QueuedExporterConfig, check_url
from spanbridge.collector.net.tls import TlsClientConfig
from spanbridge.collector.settings import host_and_port
from spanbridge.processors.settings import Duration

if TYPE_CHECKING:
    from typing import Self

_TUNING = "tunes Go's client; this one needs no such setting."
_IGNORED = "Without effect here: " + _TUNING
_HEADERS = "Headers of every request, for example authorization. Their values are kept out of logs."
_COMPRESSION = 'How requests are compressed; "none" or empty leaves them as they are.'
_TLS = "TLS towards the destination."


class OtlpGrpcExporterConfig(QueuedExporterConfig):
    """`otlp_grpc`, formerly `otlp`: hands traces on to another OTLP endpoint over gRPC."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "balancer_name": _TUNING,
        "keepalive": _TUNING,
        "read_buffer_size": _TUNING,
        "wait_for_ready": _TUNING,
        "write_buffer_size": _TUNING,
    }

    endpoint: str = Field(
        description='Where to send, "host:port" or a unix: socket. In front of it http:// means plain text unless a CA '
        "is given, and https:// means TLS in any case."
    )
    tls: TlsClientConfig = Field(default=TlsClientConfig(), description=_TLS)
    headers: dict[str, SecretStr] = Field(default_factory=dict, description=_HEADERS)
    compression: Literal["gzip", "none", ""] = Field(default="gzip", description=_COMPRESSION)
    balancer_name: str = Field(default="", description=_IGNORED)
    keepalive: dict[str, Any] | None = Field(default=None, description=_IGNORED)
    read_buffer_size: NonNegativeInt = Field(default=0, description=_IGNORED)
    wait_for_ready: bool = Field(default=False, description=_IGNORED)
    write_buffer_size: NonNegativeInt = Field(default=0, description=_IGNORED)

    @field_validator("endpoint")
    @classmethod
    def _reachable(cls, endpoint: str) -> str:
        if not endpoint:
            raise ValueError('requires a non-empty endpoint; write for example "collector:4317"')
        if "@" in endpoint:
            raise ValueError('must be "host:port"; credentials go into headers')
        address = _without_scheme(endpoint)
        if not address.startswith("unix:"):
            host, _ = host_and_port(address)
            if not host:
                raise ValueError(f'{endpoint!r} names no host; write for example "localhost:4317"')
        return endpoint

    @field_validator("tls")
    @classmethod
    def _can_be_kept(cls, tls: TlsClientConfig) -> TlsClientConfig:
        if tls.insecure_skip_verify:
            raise ValueError("gRPC for Python can't skip verification; give ca_file, or set insecure for no TLS at all")
        if tls.min_version == "1.3" or tls.max_version == "1.2" or tls.cipher_suites:
            raise ValueError(
                "gRPC for Python always offers TLS 1.2 and 1.3 with its own cipher suites; leave out min_version 1.3, "
                "max_version and cipher_suites, or use otlp_http"
            )
        return tls

    @property
    def target(self) -> str:
        """What gRPC dials: the endpoint without http://, https:// or dns://."""
        return _without_scheme(self.endpoint)

    @property
    def plaintext(self) -> bool:
        """Whether to go without TLS (configgrpc: `insecure`, unless the endpoint says https:// or a CA is given)."""
        return self.tls.insecure and not (self.tls.ca_file or self.tls.ca_pem or self.endpoint.startswith("https://"))


def _without_scheme(endpoint: str) -> str:
    for scheme in ("http://", "https://", "dns:///", "dns://"):
        if endpoint.startswith(scheme):
            return endpoint.removeprefix(scheme)
    return endpoint


class OtlpHttpExporterConfig(QueuedExporterConfig):
    """`otlp_http`, formerly `otlphttp`: hands traces on to another OTLP endpoint over HTTP."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "disable_keep_alives": _TUNING,
        "force_attempt_http2": _TUNING,
        "http2_ping_timeout": _TUNING,
        "http2_read_idle_timeout": _TUNING,
        "idle_conn_timeout": _TUNING,
        "logs_endpoint": "log records are joined to the spans they belong to; none are sent on their own.",
        "max_conns_per_host": _TUNING,
        "max_idle_conns": _TUNING,
        "max_idle_conns_per_host": _TUNING,
        "metrics_endpoint": "metrics are not carried, only traces and logs.",
        "read_buffer_size": _TUNING,
        "write_buffer_size": _TUNING,
    }

    endpoint: str = Field(default="", description="The destination's URL, to which /v1/traces is added.")
    traces_endpoint: str = Field(
        default="", description="The whole URL that traces go to, in place of endpoint with /v1/traces."
    )
    logs_endpoint: str = Field(
        default="",
        description="Without effect here: log records are joined to the spans they belong to; none are sent on their "
        "own.",
    )
    metrics_endpoint: str = Field(default="", description="Without effect here: metrics are not carried.")
    timeout: Duration = Field(default=30.0, description="How long one attempt to send may take.")
    encoding: Literal["proto"] = Field(
        default="proto", description="The form of requests, protobuf. The Collector's json is not sent."
    )
    tls: TlsClientConfig = Field(default=TlsClientConfig(), description=_TLS)
    headers: dict[str, SecretStr] = Field(default_factory=dict, description=_HEADERS)
    compression: Literal["gzip", "none", ""] = Field(default="gzip", description=_COMPRESSION)
    disable_keep_alives: bool = Field(default=False, description=_IGNORED)
    force_attempt_http2: bool = Field(default=False, description=_IGNORED)
    http2_ping_timeout: Duration = Field(default=0.0, description=_IGNORED)
    http2_read_idle_timeout: Duration = Field(default=0.0, description=_IGNORED)
    idle_conn_timeout: Duration = Field(default=0.0, description=_IGNORED)
    max_conns_per_host: NonNegativeInt = Field(default=0, description=_IGNORED)
    max_idle_conns: NonNegativeInt = Field(default=0, description=_IGNORED)
    max_idle_conns_per_host: NonNegativeInt = Field(default=0, description=_IGNORED)
    read_buffer_size: NonNegativeInt = Field(default=0, description=_IGNORED)
    write_buffer_size: NonNegativeInt = Field(default=0, description=_IGNORED)

    @field_validator("endpoint", "traces_endpoint", "logs_endpoint", "metrics_endpoint")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        return check_url(url) if url else url

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if not (self.endpoint or self.traces_endpoint):
            raise ValueError("at least one endpoint must be specified; set endpoint or traces_endpoint")
        return self

    @property
    def traces_url(self) -> str:
        """The URL that traces are sent to."""
        return self.traces_endpoint or self.endpoint.rstrip("/") + "/v1/traces"
