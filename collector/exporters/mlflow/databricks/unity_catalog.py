"""A schema in Databricks' Unity Catalog: OTLP into its spans table, and the info of each trace beside it.

As mlflow/store/tracking/databricks_rest_store.py and mlflow/tracing/export/uc_table.py do it, but with the resources
and scopes that come with the spans.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanbridge.collector.errors import ConfigError
from spanbridge.collector.exporters.mlflow.databricks.client import CREDENTIALS, faults, tracing_client
from spanbridge.collector.exporters.mlflow.record.record import TraceRecord
from spanbridge.collector.exporters.mlflow.routing import Route
from spanbridge.collector.exporters.mlflow.server.rest import Rest, checked
from spanbridge.collector.exporters.mlflow.settings import MlflowSettings

SCHEMAS = "/api/2.1/unity-catalog/schemas"
OTLP = "/api/2.0/otel/v1/traces"
SPANS_TABLE = "mlflow_experiment_trace_otel_spans"
"""The table of a schema that MLflow writes spans to (mlflow/entities/trace_location.py UCSchemaLocation)."""

_SCHEMA = re.compile(r"[\w-]+\.[\w-]+")


def unity_catalog(settings: MlflowSettings) -> str:
    """Return the `catalog.schema` that settings name as the destination; empty if they name an experiment.

    Names of Databricks experiments are paths, so a name of two words is none.

    Raises:
        ConfigError: A table prefix, which takes a location that MLflow has to have created.
    """
    named = settings.unity_catalog or settings.experiment
    if settings.unity_catalog.count(".") > 1:
        raise ConfigError([f"MLFLOW_TRACING_DESTINATION: {named!r} has a table prefix; write catalog.schema"])
    return named if _SCHEMA.fullmatch(named) else ""


class UnityCatalog:
    """A destination: the spans table of a schema in Unity Catalog."""

    def __init__(self, settings: MlflowSettings, schema: str) -> None:
        self._settings = settings
        self._schema = schema

    @cached_property
    def _config(self) -> Any:
        from mlflow.utils import databricks_utils  # noqa: PLC0415  only who needs it pays

        return databricks_utils.get_databricks_workspace_client_config(self._settings.tracking_uri)

    @cached_property
    def _rest(self) -> Rest:
        return Rest(replace(self._settings, tracking_uri=self._config.host, username="", token=""))

    @cached_property
    def _client(self) -> Any:
        return tracing_client(self._settings.tracking_uri)

    def write(self, route: Route, records: Sequence[TraceRecord]) -> None:
        """Send the spans of all records in one request, then the info of each trace.

        Raises:
            ExportError: As `Destination.write`.
        """
        del route  # a table belongs to no experiment
        with faults(self._settings.tracking_uri):
            headers = {"X-Databricks-UC-Table-Name": f"{self._schema}.{SPANS_TABLE}", **self._config.authenticate()}
            checked(self._rest.send_otlp(OTLP, encode(records), headers), self._rest.uri, CREDENTIALS)
            for record in records:
                if record.has_root or not record.late:
                    self._start_trace(record)

    def check(self, route: Route) -> Iterator[str]:
        """See `Destination`; whether spans may be written shows only when they are.

        Raises:
            ExportError: There is no such schema, or Databricks can't be reached.
        """
        del route  # as above
        with faults(self._settings.tracking_uri):
            headers = self._config.authenticate()
            checked(self._rest.get(f"{SCHEMAS}/{self._schema}", {}, headers), self._rest.uri, CREDENTIALS)
        yield f"{self._rest.uri} is reached and has the schema {self._schema}"

    def close(self) -> None:
        """Close the connections."""
        if "_rest" in self.__dict__:
            self._rest.close()

    def _start_trace(self, record: TraceRecord) -> None:
        from mlflow.entities import TraceLocation  # noqa: PLC0415  only who needs it pays

        from spanbridge.collector.exporters.mlflow.databricks.mlflow_trace import mlflow_trace  # noqa: PLC0415  as above

        location = TraceLocation.from_databricks_uc_schema(*self._schema.split("."))
        self._client.start_trace(mlflow_trace(record, location, unity_catalog=self._schema).info)


def encode(records: Sequence[TraceRecord]) -> bytes:
    """Write one OTLP request with the resources and scopes as they came in: the table has columns for them."""
    request = ExportTraceServiceRequest()
    for record in records:
        origin = None
        for span, its_origin in zip(record.spans, record.origins, strict=True):
            if its_origin is not origin:
                origin = its_origin
                scope_spans = request.resource_spans.add(resource=origin.resource).scope_spans.add(scope=origin.scope)
            scope_spans.spans.append(span)
    return request.SerializeToString()
