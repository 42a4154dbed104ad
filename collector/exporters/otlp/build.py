"""From an exporter's config to the exporter. Imports are late: what a configuration does not use costs no memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from spanbridge.collector.errors import ConfigError
from spanbridge.collector.exporters import Exporter
from spanbridge.collector.exporters.config import DebugExporterConfig, OtlpGrpcExporterConfig, OtlpHttpExporterConfig
from spanbridge.collector.exporters.mlflow.config import MlflowExporterConfig
from spanbridge.collector.exporters.mlflow.settings import DATABASES, scheme_of
from spanbridge.collector.net.tls import client_ssl_context, grpc_channel_credentials
from spanbridge.processors.settings import ConfigModel


def build_exporter(config: ConfigModel, environ: Mapping[str, str]) -> Exporter:
    """The exporter of a config.

    Raises:
        ConfigError: a file it names can't be read, or a module it needs is not installed.
    """
    if isinstance(config, MlflowExporterConfig):
        return _mlflow(config, environ)
    if isinstance(config, OtlpGrpcExporterConfig):
        return _otlp_grpc(config)
    if isinstance(config, OtlpHttpExporterConfig):
        return _otlp_http(config)
    if isinstance(config, DebugExporterConfig):
        from spanbridge.collector.exporters.debug import DebugExporter

        return DebugExporter(config.verbosity)
    raise ConfigError([f"{type(config).__name__}: no exporter is built from it"])


def _plain(headers: Mapping[str, SecretStr]) -> dict[str, str]:
    return {key: value.get_secret_value() for key, value in headers.items()}


def _mlflow(config: MlflowExporterConfig, environ: Mapping[str, str]) -> Exporter:
    if scheme_of(config.tracking_uri) in DATABASES:
        from spanbridge.collector.exporters.mlflow.database.writer_process import ExporterProcess

        return ExporterProcess(config.consumers, environ, **mlflow_options(config))
    from spanbridge.collector.exporters.mlflow.exporter import MlflowSpanExporter

    return MlflowSpanExporter(environ=environ, **mlflow_options(config))


def mlflow_options(config: MlflowExporterConfig) -> dict[str, Any]:
    """The arguments of `MlflowSpanExporter` that a config stands for."""
    return {
        "tracking_uri": config.tracking_uri,
        "experiment": config.experiment,
        "experiment_id": config.experiment_id or None,
        "create_experiments": config.create_experiments,
        "default_experiment": config.default_experiment,
        "run_id": config.run_id or None,
        "resource_tags": config.resource_tags,
        "timeout": config.timeout,
        "compression": config.compression,
        "headers": _plain(config.headers),
        "username": config.username.get_secret_value() or None,
        "password": config.password.get_secret_value() or None,
        "token": config.token.get_secret_value() or None,
        "token_file": config.token_file,
        "ca_file": config.tls.ca_file,
        "cert_file": config.tls.cert_file,
        "key_file": config.tls.key_file,
        "insecure_skip_verify": config.tls.insecure_skip_verify,
    }


def _otlp_grpc(config: OtlpGrpcExporterConfig) -> Exporter:
    import grpc

    from spanbridge.collector.exporters.otlp.exporter import OtlpGrpcExporter

    options: list[tuple[str, int | str]] = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
    ]
    if config.tls.server_name_override:
        options.append(("grpc.ssl_target_name_override", config.tls.server_name_override))
    if config.plaintext:
        channel = grpc.insecure_channel(config.target, options)
    else:
        channel = grpc.secure_channel(config.target, grpc_channel_credentials(config.tls), options)
    return OtlpGrpcExporter(
        channel, timeout=config.timeout, headers=_plain(config.headers), compression=config.compression
    )


def _otlp_http(config: OtlpHttpExporterConfig) -> Exporter:
    from spanbridge.collector.exporters.otlp.exporter import OtlpHttpExporter
    from spanbridge.collector.net.http_client import pool_manager

    url = config.traces_endpoint or config.endpoint.rstrip("/") + "/v1/traces"
    context = client_ssl_context(config.tls) if url.startswith("https:") else None
    pool = pool_manager(config.timeout, maxsize=config.sending_queue.num_consumers, retries=False, ssl_context=context)
    return OtlpHttpExporter(pool, url, headers=_plain(config.headers), compression=config.compression)
