"""The experiments of a Databricks workspace: start_trace and artifact upload, through mlflow's client.

As mlflow/tracing/export/mlflow_v3.py does it: there is no endpoint for the spans of an experiment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from spanbridge.collector.exporters.mlflow.databricks.client import faults, tracing_client
from spanbridge.collector.exporters.mlflow.experiments import Experiment, Experiments
from spanbridge.collector.exporters.mlflow.record.amendment import must_look
from spanbridge.collector.exporters.mlflow.record.record import TraceRecord
from spanbridge.collector.exporters.mlflow.routing import Route
from spanbridge.collector.exporters.mlflow.settings import MlflowSettings

_UNKNOWN = "RESOURCE_DOES_NOT_EXIST"


class DatabricksExperiments:
    """A destination: the experiments of a workspace."""

    def __init__(self, settings: MlflowSettings) -> None:
        self._uri = settings.tracking_uri
        self._experiments = Experiments(self, create=settings.create_experiments, where=self._uri)

    @cached_property
    def _client(self) -> Any:
        return tracing_client(self._uri)

    def write(self, route: Route, records: Sequence[TraceRecord]) -> None:
        """Write each trace: its info, then its spans as an artifact.

        Raises:
            ExportError: As `Destination.write`.
        """
        experiment_id = self._experiments.resolve(route)
        with faults(self._uri):
            for record in records:
                self._write_one(record, experiment_id, route.run_id)

    def check(self, route: Route) -> Iterator[str]:
        """See `Destination`; whether traces may be written shows only when they are.

        Raises:
            ExportError: The experiment can't be found, or Databricks not be reached.
        """
        sentence = self._experiments.check(route)
        yield f"{self._uri} is reached"
        yield sentence

    def close(self) -> None:
        """Nothing to give back: the client keeps no connection of its own."""

    def find_experiment(self, route: Route) -> Experiment | None:
        """See `Directory`."""
        with faults(self._uri):
            store = self._client.store
            try:
                find = store.get_experiment if route.by_id else store.get_experiment_by_name
                found = find(route.experiment)
            except Exception as error:
                if getattr(error, "error_code", "") == _UNKNOWN:
                    return None
                raise
            return found and Experiment(found.experiment_id, found.name, found.lifecycle_stage == "active")

    def create_experiment(self, route: Route) -> str:
        """See `Directory`."""
        with faults(self._uri):
            try:
                return str(self._client.store.create_experiment(route.experiment))
            except Exception as error:
                if getattr(error, "error_code", "") == "RESOURCE_ALREADY_EXISTS":
                    return str(self._client.store.get_experiment_by_name(route.experiment).experiment_id)
                raise

    def _write_one(self, record: TraceRecord, experiment_id: str, run_id: str) -> None:
        from mlflow.entities import TraceLocation  # noqa: PLC0415  only who needs it pays

        from spanbridge.collector.exporters.mlflow.databricks.mlflow_trace import mlflow_trace  # noqa: PLC0415  as above

        location = TraceLocation.from_experiment_id(experiment_id)
        # The artifact is replaced as a whole, so what is in it already has to be in the new one too.
        earlier = self._earlier(record.mlflow_id) if must_look(record) else None
        trace = mlflow_trace(record, location, earlier=earlier)
        if run_id:
            trace.info.trace_metadata["mlflow.sourceRun"] = run_id
        stored = self._client.start_trace(trace.info)
        self._client._upload_trace_data(stored, trace.data)  # noqa: SLF001  what MLflow's own exporter calls

    def _earlier(self, trace_id: str) -> Any:
        from mlflow.entities import Trace  # noqa: PLC0415  only who needs it pays
        from mlflow.exceptions import MlflowTraceDataException  # noqa: PLC0415  as above

        try:
            info = self._client.store.get_trace_info(trace_id)
            return Trace(info, self._client._download_trace_data(info))  # noqa: SLF001  as above
        except MlflowTraceDataException:
            return None
        except Exception as error:
            if getattr(error, "error_code", "") == _UNKNOWN:
                return None
            raise
