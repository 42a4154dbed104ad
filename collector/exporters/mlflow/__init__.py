"""MLflow as a destination."""

from collector.exporters.mlflow.exporter import MlflowSpanExporter

__all__ = ["MlflowSpanExporter"]
