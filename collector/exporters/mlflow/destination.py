"""The contract of a destination, and which one an address means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from spanbridge.collector.errors import ConfigError
from spanbridge.collector.exporters.mlflow.database.tracking_database import Database
from spanbridge.collector.exporters.mlflow.databricks.experiments import DatabricksExperiments
from spanbridge.collector.exporters.mlflow.databricks.unity_catalog import UnityCatalog, unity_catalog
from spanbridge.collector.exporters.mlflow.record.record import TraceRecord
from spanbridge.collector.exporters.mlflow.routing import Route
from spanbridge.collector.exporters.mlflow.server.tracking_server import TrackingServer
from spanbridge.collector.exporters.mlflow.settings import DATABASES, MlflowSettings, display

_ADDRESSES = "http(s)://host:port, sqlite:///file.db, postgresql://..., mysql://... or databricks"


class Destination(Protocol):
    """A place for records: a server, a database, Databricks. Called from several threads at a time."""

    def write(self, route: Route, records: Sequence[TraceRecord]) -> None:
        """Return once MLflow has all records, of one route.

        Raises:
            ExportError: As in `spanbridge.collector.exporters.Exporter.send`.
        """

    def check(self, route: Route) -> Iterator[str]:
        """Try what writing needs, without writing: yield a sentence for each thing that works.

        Raises:
            ExportError: The first thing that doesn't, with its mend.
        """

    def close(self) -> None:
        """Give back connections."""


def open_destination(settings: MlflowSettings) -> Destination:
    """Make the destination of a tracking URI. mlflow is imported for those alone that need it, on first use.

    Raises:
        ConfigError: MLflow has no such destination.
    """
    match settings.scheme:
        case "http" | "https":
            return TrackingServer(settings)
        case scheme if scheme in DATABASES:
            return Database(settings)
        case "databricks" if schema := unity_catalog(settings):
            return UnityCatalog(settings, schema)
        case "databricks":
            return DatabricksExperiments(settings)
        case _:
            uri = display(settings.tracking_uri)
            raise ConfigError([f"tracking_uri: {uri!r} is no MLflow address; write {_ADDRESSES}"])
