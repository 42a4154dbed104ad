"""`MlflowSpanExporter`: whole traces to MLflow, in the collector and in process."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from collector.exporters.mlflow.destination import Destination, open_destination
from collector.exporters.mlflow.record import Recorder
from collector.exporters.mlflow.routing import Route, Router
from collector.exporters.mlflow.settings import RESOURCE_TAGS, settings_from
from processors.types import Trace


class MlflowSpanExporter:
    """Writes traces to MLflow."""

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment: str | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        **options: Any,
    ) -> None:
        settings = settings_from(environ, tracking_uri=tracking_uri, experiment=experiment, **options)
        self._router = Router(settings)
        self._record = Recorder(RESOURCE_TAGS if settings.resource_tags is None else settings.resource_tags)
        self._destination: Destination = open_destination(settings)

    def group(self, trace: Trace) -> Route:
        """Traces of equal group go in one request: the same experiment, run and workspace."""
        return self._router(trace)

    def send(self, traces: Sequence[Trace]) -> None:
        """Write traces of one group; see `collector.exporters.Exporter`."""
        now = time.time_ns()
        records = [record for trace in traces if (record := self._record(trace, now)) is not None]
        if records:
            self._destination.write(self.group(traces[0]), records)

    def close(self) -> None:
        """Give back connections; no `send` follows."""
        self._destination.close()
