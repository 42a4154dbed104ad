"""The `otlp` receiver's section: the Collector's keys (otlpreceiver, configgrpc, confighttp) and our defaults.

Where the defaults are not the Collector's they bound what a client may take; the descriptions say so.
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


_ENDPOINT = "Where to listen, host:port; no host means every interface. With transport unix it is the path of a socket."

Compression: TypeAlias = Literal["", "gzip", "zstd", "zlib", "deflate"]


class AuthConfig(ConfigModel):
    """`auth`: which authenticator extension lets clients in."""

    NOTES: ClassVar[Mapping[str, str]] = {"request_params": "only headers authenticate; query parameters are ignored."}

    authenticator: str = Field(
        min_length=1, description="The id of the extension that lets clients in, such as bearertokenauth."
    )
    request_params: tuple[str, ...] = Field(
        default=(), description="Without effect here: only headers authenticate; query parameters are ignored."
    )


class KeepaliveServerConfig(ConfigModel):
    """`keepalive.server_parameters`: how long connections live."""

    max_connection_idle: Duration = Field(
        default=300.0,
        description="After how long without a call a connection is closed. The Collector closes none.",
    )
    max_connection_age: Duration = Field(
        default=0.0,
        description="After how long a connection is closed in any case, so that clients spread over new replicas; 0 is "
        "never.",
    )
    max_connection_age_grace: Duration = Field(
        default=0.0, description="How long calls may still run on a connection that is too old; 0 is for ever."
    )
    time: Duration = Field(
        default=0.0, description="After how long without a sign of life a client is pinged; 0 is gRPC's default, 2h."
    )
    timeout: Duration = Field(
        default=0.0, description="How long the answer to a ping may take; 0 is gRPC's default, 20s."
    )


class KeepaliveEnforcementConfig(ConfigModel):
    """`keepalive.enforcement_policy`: how often a client may ping."""

    min_time: Duration = Field(
        default=0.0, description="The shortest time between two pings of a client; 0 is gRPC's default, 5m."
    )
    permit_without_stream: bool = Field(default=False, description="Whether a client may ping while no call is open.")


class KeepaliveConfig(ConfigModel):
    """`keepalive` of the gRPC server."""

    server_parameters: Annotated[KeepaliveServerConfig, Enabled] = Field(
        default=KeepaliveServerConfig(), description="How long connections live."
    )
    enforcement_policy: Annotated[KeepaliveEnforcementConfig, Enabled] = Field(
        default=KeepaliveEnforcementConfig(), description="How often a client may ping."
    )


class CorsConfig(ConfigModel):
    """`cors`: which browser pages may send."""

    allowed_origins: tuple[str, ...] = Field(
        default=(),
        description='The origins of pages that may send, such as https://*.example.com; each may hold one "*". Without '
        "any there is no CORS.",
    )
    allowed_headers: tuple[str, ...] = Field(
        default=(),
        description="The request headers that pages may set besides Accept, Content-Type, Origin and X-Requested-With; "
        '"*" allows all.',
    )
    exposed_headers: tuple[str, ...] = Field(default=(), description="The response headers that pages may read.")
    max_age: NonNegativeInt = Field(
        default=0,
        description="For how many seconds a browser may keep a preflight's answer; 0 leaves that to it.",
    )

    @field_validator("allowed_origins")
    @classmethod
    def _one_wildcard(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin.count("*") > 1:
                raise ValueError(f'{origin!r} holds more than one "*"; one stands for any text')
        return origins


class ServerConfig(ConfigModel):
    """What both protocols share."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "include_metadata": "the x-mlflow-* headers always travel with the spans, other headers never.",
        "middlewares": "no middleware is run; the memory_limiter processor bounds memory.",
    }

    endpoint: str = Field(description=_ENDPOINT)
    transport: Literal["tcp", "unix"] = Field(
        default="tcp", description="What endpoint is: an address (tcp), or the path of a socket (unix)."
    )
    tls: TlsServerConfig | None = Field(default=None, description="TLS of the server; without it plain text is served.")
    auth: AuthConfig | None = Field(default=None, description="Who may send; without it everybody may.")
    include_metadata: bool = Field(
        default=False,
        description="Without effect here: the x-mlflow-* headers always travel with the spans, other headers never.",
    )
    middlewares: tuple[Any, ...] = Field(
        default=(), description="Without effect here: no middleware is run; memory_limiter bounds memory."
    )
    max_connections: PositiveInt = Field(
        default=512,
        description="The most connections at once. Our addition: the Collector has no bound, and each takes memory.",
    )

    @check(mode="after")
    def _reachable(self) -> Self:
        if self.transport != "unix":
            host_and_port(self.endpoint)
        elif not self.endpoint:
            raise ValueError("endpoint: a unix socket needs its path")
        return self


class GrpcConfig(ServerConfig):
    """`protocols.grpc`."""

    NOTES: ClassVar[Mapping[str, str]] = {
        **ServerConfig.NOTES,
        "read_buffer_size": "gRPC sizes its own buffers.",
        "write_buffer_size": "gRPC sizes its own buffers.",
    }

    endpoint: str = Field(default="localhost:4317", description=_ENDPOINT)
    max_recv_msg_size_mib: int = Field(
        default=DEFAULT_MAX_MIB,
        ge=0,
        le=2047,
        description="The largest request in MiB, as sent and after decompression; 0 means the default, which is what "
        "the OTLP specification recommends (4 in the Collector).",
    )
    max_concurrent_streams: NonNegativeInt = Field(
        default=100,
        description="The most calls at once on one connection; 0 is no bound, which is the Collector's default.",
    )
    read_buffer_size: NonNegativeInt = Field(default=0, description="Without effect here: gRPC sizes its own buffers.")
    write_buffer_size: NonNegativeInt = Field(default=0, description="Without effect here: gRPC sizes its own buffers.")
    keepalive: Annotated[KeepaliveConfig, Enabled] = Field(
        default=KeepaliveConfig(), description="Pings, and how long connections live."
    )

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
    """`protocols.http`. A timeout of 0 means none, as in the Collector."""

    NOTES: ClassVar[Mapping[str, str]] = {
        **ServerConfig.NOTES,
        "metrics_url_path": "metrics are not taken; the path answers 404.",
    }

    endpoint: str = Field(default="localhost:4318", description=_ENDPOINT)
    traces_url_path: UrlPath = Field(default="/v1/traces", description="The path that takes traces.")
    metrics_url_path: UrlPath = Field(
        default="/v1/metrics", description="Without effect here: metrics are not taken; the path answers 404."
    )
    logs_url_path: UrlPath = Field(
        default="/v1/logs", description="The path that takes log records, if a logs pipeline has this receiver."
    )
    cors: CorsConfig | None = Field(default=None, description="Which browser pages may send; without it none.")
    max_request_body_size: NonNegativeInt = Field(
        default=DEFAULT_MAX_MIB * MIB,
        description="The largest body in bytes, as sent and after decompression; 0 means the default, 64 MiB, which is "
        "what the OTLP specification recommends (20 MiB in the Collector).",
    )
    response_headers: dict[str, str] = Field(default_factory=dict, description="Headers that every answer gets.")
    compression_algorithms: tuple[Compression, ...] = Field(
        default=("", "gzip", "zstd", "zlib", "deflate"),
        description='What bodies may be compressed with; "" is not at all. Others are answered with 415.',
    )
    read_timeout: Duration = Field(
        default=60.0,
        description="How long a body may take, from the headers' end on. The Collector has no limit.",
    )
    read_header_timeout: Duration = Field(
        default=10.0,
        description="How long headers may take, from the connection or the request's first byte on (1m in the "
        "Collector).",
    )
    write_timeout: Duration = Field(default=30.0, description="How long a client may leave its answer unread.")
    idle_timeout: Duration = Field(default=60.0, description="How long a connection may wait for its next request.")
    keep_alives_enabled: bool = Field(
        default=True, description="Whether a connection takes further requests; false closes it after each."
    )

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

    grpc: Annotated[GrpcConfig | None, Enabled] = Field(default=None, description="OTLP over gRPC, if it is there.")
    http: Annotated[HttpConfig | None, Enabled] = Field(
        default=None, description="OTLP over HTTP, protobuf and JSON, if it is there."
    )

    @check(mode="after")
    def _at_least_one(self) -> Self:
        if self.grpc is None and self.http is None:
            raise ValueError("must specify at least one protocol when using the OTLP receiver")
        return self


class OtlpReceiverConfig(ConfigModel):
    """The `otlp` receiver. The limits are our additions, with the names they have in OpenTelemetry's SDKs."""

    protocols: Annotated[ProtocolsConfig, Enabled] = Field(
        default=None,
        validate_default=True,
        description="What is served: at least one of grpc and http, and null or {} enables one with its defaults.",
    )
    attribute_value_length_limit: NonNegativeInt = Field(
        default=DEFAULT_VALUE_LENGTH,
        description="To how many characters attribute values are cut; 0 is no limit. The default, 4 Mi, keeps a value "
        "within a statement of the databases that MLflow uses.",
    )
    attribute_count_limit: PositiveInt = Field(
        default=DEFAULT_COUNT,
        description="The most attributes of a resource, scope, span, event, link or log record; the first stay.",
    )
    event_count_limit: PositiveInt = Field(
        default=DEFAULT_COUNT, description="The most events of a span; of more the first stay."
    )
    link_count_limit: PositiveInt = Field(
        default=DEFAULT_COUNT, description="The most links of a span; of more the first stay."
    )
    max_request_items: PositiveInt = Field(
        default=100_000,
        description="The most spans or log records of one request; one that holds more is refused as too large.",
    )

    @property
    def counts(self) -> CountLimits:
        """What one span may hold."""
        return CountLimits(self.attribute_count_limit, self.event_count_limit, self.link_count_limit)
