"""How many sends an exporter has under way at once."""

from __future__ import annotations

import pytest

from spanbridge.collector.exporters.config import SendingQueueConfig
from spanbridge.collector.exporters.mlflow.config import MlflowExporterConfig
from spanbridge.collector.exporters.otlp.config import OtlpHttpExporterConfig

SERVER, DATABASE, FILE = "http://mlflow:5000", "postgresql://mlflow@host/mlflow", "sqlite:///mlflow.db"


@pytest.mark.parametrize(
    ("uri", "given", "expected"),
    [
        (SERVER, {}, 4),
        (SERVER, {"num_consumers": 10}, 10),
        (DATABASE, {}, 4),
        (DATABASE, {"num_consumers": 2}, 2),
        ("databricks", {}, 10),
        (FILE, {}, 4),
        (FILE, {"num_consumers": 10}, 4),
    ],
)
def test_towards_mlflow(uri, given, expected):
    config = MlflowExporterConfig(tracking_uri=uri, sending_queue=SendingQueueConfig(**given))
    assert config.consumers == expected


def test_towards_another_collector_as_in_the_collector():
    config = OtlpHttpExporterConfig(endpoint="http://gateway:4318")
    assert config.sending_queue.num_consumers == 10
