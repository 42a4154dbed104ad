"""spanbridge: OpenTelemetry spans to MLflow. `from spanbridge import MlflowSpanExporter` is what programs need of it.

In the repository `collector` and `processors` are top-level folders; here they are links to them, and in an installed
distribution they are these packages. So nothing is ever imported by a name as common as `collector`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spanbridge.collector.exporters.mlflow import MlflowSpanExporter

__all__ = ["MlflowSpanExporter"]


def __getattr__(name: str) -> Any:
    """Import the exporter when it is asked for: the commands of the program need not pay for it."""
    if name == "MlflowSpanExporter":
        from spanbridge.collector.exporters.mlflow import MlflowSpanExporter  # noqa: PLC0415

        return MlflowSpanExporter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
