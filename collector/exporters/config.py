"""Sections of the exporters and what they share: timeout, retry and sending queue (the Collector's exporterhelper)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, NonNegativeInt, PositiveInt, SecretStr, field_validator, model_validator

from spanbridge.collector.net.tls import TlsClientConfig
from spanbridge.collector.settings import AnyCase, host_and_port
from spanbridge.processors.settings import ConfigModel, Duration

if TYPE_CHECKING:
    from typing import Self

DEFAULT_JOURNAL_BYTES = 1 << 30
_TUNING = "tunes Go's client; this one needs no such setting."


class RetryConfig(ConfigModel):
    """`retry_on_failure` (configretry): the pause after a failed send, seconds; at least what a server asks for.

    Defaults are the Collector's but for `max_elapsed_time`: 0, which means for ever. Intervals of 0, which the
    Collector takes, would retry without a pause and are refused.
    """

    NOTES: ClassVar[Mapping[str, str]] = {
        "enabled": "what was acknowledged is never given up: a send that failed is repeated in any case.",
        "max_elapsed_time": "what was acknowledged is never given up: only the size of the queue limits an outage.",
    }

    enabled: bool = True
    initial_interval: Duration = Field(default=5.0, gt=0)
    randomization_factor: float = Field(default=0.5, ge=0, le=1)
    multiplier: float = Field(default=1.5, ge=1)
    max_interval: Duration = Field(default=30.0, gt=0)
    max_elapsed_time: Duration = 0.0

    @model_validator(mode="after")
    def _intervals_fit(self) -> Self:
        for key in ("initial_interval", "max_interval"):
            if self.enabled and 0 < self.max_elapsed_time < getattr(self, key):
                raise ValueError(f"max_elapsed_time must not be less than {key}")
        return self


class PartitionConfig(ConfigModel):
    """`sending_queue.batch.partition`."""

    metadata_keys: tuple[str, ...] = ()


class QueueBatchConfig(ConfigModel):
    """`sending_queue.batch`: sizes in `sizer`'s unit, `max_size` 0 means no bound."""

    flush_timeout: Duration = Field(default=0.2, gt=0)
    sizer: Literal["items", "bytes"] = "items"
    min_size: NonNegativeInt = 8192
    max_size: NonNegativeInt = 0
    partition: PartitionConfig = PartitionConfig()

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if 0 < self.max_size < self.min_size:
            raise ValueError("max_size must be greater than or equal to min_size")
        return self


class SendingQueueConfig(ConfigModel):
    """`sending_queue`: here the journal of the pipeline, on disk when `storage` names a file_storage extension.

    The journal is bounded in bytes, by `queue_size` when `sizer` is "bytes", else by 1 GiB: the Collector's 1000
    requests are no bound for a disk. `num_consumers` is how many sends may be under way at once.
    """

    NOTES: ClassVar[Mapping[str, str]] = {
        "wait_for_result": "a sender is answered as soon as the journal holds its spans, never after the destination.",
        "block_on_overflow": "a full journal never blocks: the sender is told to send again in about 1 s.",
        "batch": "the pipeline's batch processor says how traces are gathered for delivery; this is not used.",
    }

    enabled: bool = True
    num_consumers: PositiveInt = 10
    queue_size: PositiveInt | None = None
    sizer: Literal["requests", "items", "bytes"] = "requests"
    wait_for_result: bool = False
    block_on_overflow: bool = False
    storage: str | None = None
    batch: QueueBatchConfig | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.wait_for_result and self.storage:
            raise ValueError("wait_for_result is not supported with a persistent queue configured with storage")
        if self.batch and self.batch.sizer == self.sizer and self.batch.min_size > self.journal_bytes:
            raise ValueError("batch::min_size must be less than or equal to queue_size")
        return self

    @property
    def journal_bytes(self) -> int:
        """The bound of the journal."""
        return self.queue_size if self.queue_size and self.sizer == "bytes" else DEFAULT_JOURNAL_BYTES


class QueuedExporterConfig(ConfigModel):
    """What every exporter that sends over a network has; `timeout` is for one attempt, seconds."""

    timeout: Duration = 5.0
    retry_on_failure: RetryConfig = RetryConfig()
    sending_queue: SendingQueueConfig = SendingQueueConfig()


class OtlpGrpcExporterConfig(QueuedExporterConfig):
    """`otlp_grpc`, formerly `otlp`: hands traces on to another OTLP endpoint over gRPC."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "balancer_name": _TUNING,
        "keepalive": _TUNING,
        "read_buffer_size": _TUNING,
        "wait_for_ready": _TUNING,
        "write_buffer_size": _TUNING,
    }

    endpoint: str
    tls: TlsClientConfig = TlsClientConfig()
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    compression: Literal["gzip", "none", ""] = "gzip"
    balancer_name: str = ""
    keepalive: dict[str, Any] | None = None
    read_buffer_size: NonNegativeInt = 0
    wait_for_ready: bool = False
    write_buffer_size: NonNegativeInt = 0

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


def check_url(url: str) -> str:
    """`url` itself.

    Raises:
        ValueError: it is no http:// or https:// URL with a host; the sentence leaves out what may be a secret.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("must be a whole URL: http:// or https:// and a host")
    return url


class OtlpHttpExporterConfig(QueuedExporterConfig):
    """`otlp_http`, formerly `otlphttp`: hands traces on to another OTLP endpoint over HTTP.

    Traces go to `traces_endpoint`, or to `endpoint` + "/v1/traces". As in the Collector `timeout` is 30 s here.
    """

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

    endpoint: str = ""
    traces_endpoint: str = ""
    logs_endpoint: str = ""
    metrics_endpoint: str = ""
    timeout: Duration = 30.0
    encoding: Literal["proto"] = "proto"
    tls: TlsClientConfig = TlsClientConfig()
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    compression: Literal["gzip", "none", ""] = "gzip"
    disable_keep_alives: bool = False
    force_attempt_http2: bool = False
    http2_ping_timeout: Duration = 0.0
    http2_read_idle_timeout: Duration = 0.0
    idle_conn_timeout: Duration = 0.0
    max_conns_per_host: NonNegativeInt = 0
    max_idle_conns: NonNegativeInt = 0
    max_idle_conns_per_host: NonNegativeInt = 0
    read_buffer_size: NonNegativeInt = 0
    write_buffer_size: NonNegativeInt = 0

    @field_validator("endpoint", "traces_endpoint", "logs_endpoint", "metrics_endpoint")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        return check_url(url) if url else url

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if not (self.endpoint or self.traces_endpoint):
            raise ValueError("at least one endpoint must be specified; set endpoint or traces_endpoint")
        return self


class DebugExporterConfig(ConfigModel):
    """`debug`, formerly `logging`: writes what arrives to the log."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "output_paths": "it writes to the log of the bridge.",
        "sampling_initial": "every message is written.",
        "sampling_thereafter": "every message is written.",
        "use_internal_logger": "it writes to the log of the bridge.",
    }

    verbosity: Annotated[Literal["basic", "normal", "detailed"], AnyCase] = "basic"
    sampling_initial: NonNegativeInt = 2
    sampling_thereafter: NonNegativeInt = 1
    use_internal_logger: bool = True
    output_paths: tuple[str, ...] = ()
    sending_queue: SendingQueueConfig = SendingQueueConfig()
