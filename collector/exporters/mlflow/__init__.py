"""MLflow as a destination."""

from spanbridge.collector.exporters.mlflow.exporter import MlflowSpanExporter

__all__ = ["MlflowSpanExporter"]
