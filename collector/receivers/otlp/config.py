"""The `otlp` receiver's section: the Collector's keys (otlpreceiver, configgrpc, confighttp) and our defaults.

Departures from the Collector's defaults: both size limits are the 64 MiB that the OTLP specification recommends, and
streams, connections and the time a client may take are bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator
from pydantic import model_validator as check

from spanbridge.collector.net.limits import ConnectionLimits
from spanbridge.collector.net.tls import TlsServerConfig
from spanbridge.collector.settings import Enabled, UrlPath, host_and_port
from spanbridge.processors.limits import CountLimits
from spanbridge.processors.settings import ConfigModel, Duration

if TYPE_CHECKING:
    from typing import Self

MIB = 1 << 20
DEFAULT_MAX_MIB = 64
"""OTLP specification, "OTLP/gRPC" and "OTLP/HTTP": the recommended limit of a request, also after decompression."""

DEFAULT_VALUE_LENGTH = 4 * MIB
"""MLflow keeps a span as one text of up to 4 GiB, in which values are quoted twice. What bounds it is the size of a
statement, 16 MiB in the smallest default there is (MariaDB's max_allowed_packet)."""

DEFAULT_COUNT = 10_000
"""Conventions that flatten a conversation write some attributes for each message of it; SDKs stop at 128."""


Compression: TypeAlias = Literal["", "gzip", "zstd", "zlib", "deflate"]


class AuthConfig(ConfigModel):
    """`auth`: which authenticator extension lets clients in."""

    NOTES: ClassVar[Mapping[str, str]] = {"request_params": "only headers authenticate; query parameters are ignored."}

    authenticator: str = Field(min_length=1)
    request_params: tuple[str, ...] = ()


class KeepaliveServerConfig(ConfigModel):
    """`keepalive.server_parameters`, seconds; 0 leaves gRPC's default. An idle connection is closed after 5 minutes."""

    max_connection_idle: Duration = 300.0
    max_connection_age: Duration = 0.0
    max_connection_age_grace: Duration = 0.0
    time: Duration = 0.0
    timeout: Duration = 0.0


class KeepaliveEnforcementConfig(ConfigModel):
    """`keepalive.enforcement_policy`: how often a client may ping; 0 leaves gRPC's default (5 minutes)."""

    min_time: Duration = 0.0
    permit_without_stream: bool = False


class KeepaliveConfig(ConfigModel):
    """`keepalive` of the gRPC server."""

    server_parameters: Annotated[KeepaliveServerConfig, Enabled] = KeepaliveServerConfig()
    enforcement_policy: Annotated[KeepaliveEnforcementConfig, Enabled] = KeepaliveEnforcementConfig()


class CorsConfig(ConfigModel):
    """`cors`: which browser pages may send. `max_age` is in seconds; an origin may hold one "*"."""

    allowed_origins: tuple[str, ...] = ()
    allowed_headers: tuple[str, ...] = ()
    exposed_headers: tuple[str, ...] = ()
    max_age: NonNegativeInt = 0

    @field_validator("allowed_origins")
    @classmethod
    def _one_wildcard(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin.count("*") > 1:
                raise ValueError(f'{origin!r} holds more than one "*"; one stands for any text')
        return origins


class ServerConfig(ConfigModel):
    """What both protocols share. `transport: unix` makes `endpoint` a socket's path."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "include_metadata": "the x-mlflow-* headers always travel with the spans, other headers never.",
        "middlewares": "no middleware is run; the memory_limiter processor bounds memory.",
    }

    endpoint: str
    transport: Literal["tcp", "unix"] = "tcp"
    tls: TlsServerConfig | None = None
    auth: AuthConfig | None = None
    include_metadata: bool = False
    middlewares: tuple[Any, ...] = ()
    max_connections: PositiveInt = 512

    @check(mode="after")
    def _reachable(self) -> Self:
        if self.transport != "unix":
            host_and_port(self.endpoint)
        elif not self.endpoint:
            raise ValueError("endpoint: a unix socket needs its path")
        return self


class GrpcConfig(ServerConfig):
    """`protocols.grpc`. `max_recv_msg_size_mib` 0 means the default."""

    NOTES: ClassVar[Mapping[str, str]] = {
        **ServerConfig.NOTES,
        "read_buffer_size": "gRPC sizes its own buffers.",
        "write_buffer_size": "gRPC sizes its own buffers.",
    }

    endpoint: str = "localhost:4317"
    max_recv_msg_size_mib: int = Field(default=DEFAULT_MAX_MIB, ge=0, le=2047)
    max_concurrent_streams: NonNegativeInt = 100
    read_buffer_size: NonNegativeInt = 0
    write_buffer_size: NonNegativeInt = 0
    keepalive: Annotated[KeepaliveConfig, Enabled] = KeepaliveConfig()

    @check(mode="after")
    def _tls_can_be_kept(self) -> Self:
        if self.tls and (self.tls.min_version == "1.3" or self.tls.cipher_suites or self.tls.max_version == "1.2"):
            raise ValueError(
                "tls: gRPC for Python always offers TLS 1.2 and 1.3 with its own cipher suites; leave out min_version "
                "1.3, max_version and cipher_suites here, or put a TLS proxy in front of a unix socket"
            )
        return self

    @property
    def max_bytes(self) -> int:
        """The largest request, as sent and after decompression."""
        return (self.max_recv_msg_size_mib or DEFAULT_MAX_MIB) * MIB


class HttpConfig(ServerConfig):
    """`protocols.http`. `max_request_body_size` 0 means the default; a timeout of 0 means none, as in the Collector.

    `read_header_timeout` runs from the connection or a request's first byte to the end of its headers, `read_timeout`
    from there to the end of the body, `write_timeout` while a client leaves its answer unread, `idle_timeout` between
    requests.
    """

    NOTES: ClassVar[Mapping[str, str]] = {
        **ServerConfig.NOTES,
        "metrics_url_path": "metrics are not taken; the path answers 404.",
    }

    endpoint: str = "localhost:4318"
    traces_url_path: UrlPath = "/v1/traces"
    metrics_url_path: UrlPath = "/v1/metrics"
    logs_url_path: UrlPath = "/v1/logs"
    cors: CorsConfig | None = None
    max_request_body_size: NonNegativeInt = DEFAULT_MAX_MIB * MIB
    response_headers: dict[str, str] = Field(default_factory=dict)
    compression_algorithms: tuple[Compression, ...] = ("", "gzip", "zstd", "zlib", "deflate")
    read_timeout: Duration = 60.0
    read_header_timeout: Duration = 10.0
    write_timeout: Duration = 30.0
    idle_timeout: Duration = 60.0
    keep_alives_enabled: bool = True

    @property
    def max_bytes(self) -> int:
        """The largest body, as sent and after decompression."""
        return self.max_request_body_size or DEFAULT_MAX_MIB * MIB

    @property
    def connection_limits(self) -> ConnectionLimits:
        """What clients may take of the server."""
        return ConnectionLimits(
            max_connections=self.max_connections,
            max_bytes=self.max_bytes,
            read_header_timeout=self.read_header_timeout,
            read_timeout=self.read_timeout,
            write_timeout=self.write_timeout,
            idle_timeout=self.idle_timeout,
        )


class ProtocolsConfig(ConfigModel):
    """`protocols`: null or `{}` enables a protocol with its defaults, absence leaves it out."""

    grpc: Annotated[GrpcConfig | None, Enabled] = None
    http: Annotated[HttpConfig | None, Enabled] = None

    @check(mode="after")
    def _at_least_one(self) -> Self:
        if self.grpc is None and self.http is None:
            raise ValueError("must specify at least one protocol when using the OTLP receiver")
        return self


class OtlpReceiverConfig(ConfigModel):
    """The `otlp` receiver.

    The limits are our additions, with the names they have in OpenTelemetry's SDKs. Values longer than
    `attribute_value_length_limit` characters (0: no limit) are cut; of more attributes, events or links than their
    `_count_limit` the first stay. A request of more spans or log records than `max_request_items` is refused.
    """

    protocols: Annotated[ProtocolsConfig, Enabled] = Field(default=None, validate_default=True)
    attribute_value_length_limit: NonNegativeInt = DEFAULT_VALUE_LENGTH
    attribute_count_limit: PositiveInt = DEFAULT_COUNT
    event_count_limit: PositiveInt = DEFAULT_COUNT
    link_count_limit: PositiveInt = DEFAULT_COUNT
    max_request_items: PositiveInt = 100_000

    @property
    def counts(self) -> CountLimits:
        """What one span may hold."""
        return CountLimits(self.attribute_count_limit, self.event_count_limit, self.link_count_limit)
