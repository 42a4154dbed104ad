"""From a section of `otlp_grpc` or `otlp_http` to the exporter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import grpc

from spanbridge.collector.exporters import FORWARD_SEND, ConfiguredExporter, Exporter
from spanbridge.collector.exporters.config import QueuedExporterConfig, plain_headers
from spanbridge.collector.exporters.otlp.config import OtlpGrpcExporterConfig, OtlpHttpExporterConfig
from spanbridge.collector.exporters.otlp.exporter import OtlpGrpcExporter, OtlpHttpExporter
from spanbridge.collector.net.http_client import pool_manager
from spanbridge.collector.net.tls import client_ssl_context, grpc_channel_credentials


def build_grpc(config: OtlpGrpcExporterConfig, _environ: Mapping[str, str]) -> ConfiguredExporter:
    """Return the exporter of an `otlp_grpc` section.

    Raises:
        ConfigError: a TLS file can't be used.
    """
    exporter = OtlpGrpcExporter(
        _channel(config),
        timeout=config.timeout,
        headers=plain_headers(config.headers),
        compression=config.compression,
    )
    return _configured(exporter, config)


def build_http(config: OtlpHttpExporterConfig, _environ: Mapping[str, str]) -> ConfiguredExporter:
    """Return the exporter of an `otlp_http` section.

    Raises:
        ConfigError: a TLS file can't be used.
    """
    url, consumers = config.traces_url, config.sending_queue.num_consumers
    context = client_ssl_context(config.tls) if url.startswith("https:") else None
    pool = pool_manager(config.timeout, maxsize=consumers, retries=False, ssl_context=context)
    exporter = OtlpHttpExporter(pool, url, headers=plain_headers(config.headers), compression=config.compression)
    return _configured(exporter, config)


def _configured(exporter: Exporter, config: QueuedExporterConfig) -> ConfiguredExporter:
    return ConfiguredExporter(
        exporter,
        FORWARD_SEND,
        num_consumers=config.sending_queue.num_consumers,
        retry_on_failure=config.retry_on_failure,
    )


def _channel(config: OtlpGrpcExporterConfig) -> grpc.Channel:
    options = list(_options(config))
    if config.plaintext:
        return grpc.insecure_channel(config.target, options)
    return grpc.secure_channel(config.target, grpc_channel_credentials(config.tls), options)


def _options(config: OtlpGrpcExporterConfig) -> Iterator[tuple[str, int | str]]:
    yield "grpc.max_send_message_length", -1
    yield "grpc.max_receive_message_length", -1
    if config.tls.server_name_override:
        yield "grpc.ssl_target_name_override", config.tls.server_name_override
