"""From a section of the `mlflow` exporter to the exporter. Databases are written in processes of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spanbridge.collector.exporters import ConfiguredExporter, Exporter, SendLimits
from spanbridge.collector.exporters.config import plain_headers
from spanbridge.collector.exporters.mlflow.config import MlflowExporterConfig
from spanbridge.collector.exporters.mlflow.settings import DATABASES, scheme_of

MLFLOW_SEND = SendLimits(max_traces=64, max_spans=2048)
"""MLflow's cost is per trace, and a send has to end well within its timeout in the slowest of stores."""
DATABASE_SEND = SendLimits(max_traces=256, max_spans=2048)
"""A transaction costs the same for few traces as for many."""
SQLITE_SEND = SendLimits(max_traces=768, max_spans=6144)
"""Each transaction writes every page it touches twice, and ids fall into any page of an index: the larger the file, the
fewer of them share one, unless there are more in a transaction."""
SENDS = {"sqlite": SQLITE_SEND, "postgresql": DATABASE_SEND, "mysql": DATABASE_SEND}
"""By the scheme of a tracking URI; all others are servers."""


def build(config: MlflowExporterConfig, environ: Mapping[str, str]) -> ConfiguredExporter:
    """Return the exporter of a section.

    Raises:
        ConfigError: a file it names can't be read, or its address or template can't work.
    """
    limits = SENDS.get(scheme_of(config.tracking_uri), MLFLOW_SEND)
    return ConfiguredExporter(_exporter(config, environ), limits, config.consumers, config.retry_on_failure)


def _exporter(config: MlflowExporterConfig, environ: Mapping[str, str]) -> Exporter:
    """The exporter; what the other kind of destination needs is not imported."""
    if scheme_of(config.tracking_uri) in DATABASES:
        from spanbridge.collector.exporters.mlflow.database.writer_process import ExporterProcess  # noqa: PLC0415

        return ExporterProcess(config.consumers, environ, **mlflow_options(config))
    from spanbridge.collector.exporters.mlflow.exporter import MlflowSpanExporter  # noqa: PLC0415

    return MlflowSpanExporter(environ=environ, **mlflow_options(config))


def mlflow_options(config: MlflowExporterConfig) -> dict[str, Any]:
    """Return the arguments of `MlflowSpanExporter` that a section stands for."""
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
        "headers": plain_headers(config.headers),
        "username": config.username.get_secret_value() or None,
        "password": config.password.get_secret_value() or None,
        "token": config.token.get_secret_value() or None,
        "token_file": config.token_file,
        "ca_file": config.tls.ca_file,
        "cert_file": config.tls.cert_file,
        "key_file": config.tls.key_file,
        "insecure_skip_verify": config.tls.insecure_skip_verify,
    }
