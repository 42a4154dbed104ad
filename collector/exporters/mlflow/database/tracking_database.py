"""An MLflow tracking database, in this process: new traces as bulk rows, the others through MLflow's own store."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeAlias

from spanbridge.collector.errors import ExportError, Retryable
from spanbridge.collector.exporters.mlflow.database.faults import database_fault, is_unknown
from spanbridge.collector.exporters.mlflow.experiments import Experiment, Experiments
from spanbridge.collector.exporters.mlflow.record.amendment import (
    Amendment,
    Stored,
    amendment,
    assumed,
    is_needed,
    known_state,
    must_look,
)
from spanbridge.collector.exporters.mlflow.record.record import TraceRecord
from spanbridge.collector.exporters.mlflow.routing import Route
from spanbridge.collector.exporters.mlflow.settings import MlflowSettings, display

_log = logging.getLogger(__name__)

_MAX_LINKS = 100
_SLOW = "traces go through MLflow's own store, which is ten to thirty times slower: %s"
"""What it costs to do without bulk rows; see docs/performance.md."""

Store: TypeAlias = Any
"""mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore, whose methods have no types."""

Writer: TypeAlias = Callable[[str, Sequence[TraceRecord]], Sequence[TraceRecord]]
"""Writes records into an experiment, by id; returns those of which only the spans and what they say is there."""


class Database:
    """A destination. The store is opened on first use, so that starting needs neither mlflow nor the database.

    Args:
        settings: With the URI of a tracking database.
        writer: Makes the writer of a store that has been opened; None for `bulk_writer`.
        turn: A lock between all processes that write to the database on behalf of one program. Who has it may make the
            tables of an empty database (two at once would each find the other's half), and in SQLite write a
            transaction. None if this is the only one.
    """

    def __init__(
        self,
        settings: MlflowSettings,
        writer: Callable[[Store], Writer] | None = None,
        turn: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._settings = settings
        self._where = display(settings.tracking_uri)
        self._turn = turn or threading.Lock()
        self._writer = writer or partial(bulk_writer, turn=self._turn)
        self._experiments = Experiments(self, create=settings.create_experiments, where=self._where)
        self._opening = threading.Lock()
        self._opened: tuple[Store, Writer] | None = None

    def write(self, route: Route, records: Sequence[TraceRecord]) -> None:
        """Write the spans of all records in one transaction, then the rest of those that need it.

        Raises:
            ExportError: As `Destination.write`.
        """
        experiment_id = self._experiments.resolve(route)
        with self._faults(), _workspace(route.workspace):
            store, write = self._open()
            try:
                incomplete = write(experiment_id, records)
            except Exception as error:
                if is_unknown(error):
                    self._experiments.forget(route)
                    raise Retryable(
                        f"{self._where}: experiment {experiment_id} is gone; looking it up again"
                    ) from error
                raise
            for record in incomplete:
                if is_needed(record):
                    _amend(store, record, experiment_id)
            if route.run_id:
                _link(store, [record.mlflow_id for record in records], route.run_id)

    def check(self, route: Route) -> Iterator[str]:
        """See `Destination`. Writing is tried with an update of no row.

        Raises:
            ExportError: The first thing that does not work.
        """
        with self._faults(), _workspace(route.workspace):
            store, _ = self._open()
        yield f"{self._where} is reached"
        yield self._experiments.check(route)
        with self._faults(), store.engine.connect() as connection:
            connection.exec_driver_sql("UPDATE spans SET name = name WHERE 1 = 0")
        yield "traces can be written to it"

    def close(self) -> None:
        """Give back the connections."""
        if self._opened is not None:
            self._opened[0].engine.dispose()

    def find_experiment(self, route: Route) -> Experiment | None:
        """See `Directory`."""
        with self._faults(), _workspace(route.workspace):
            store, _ = self._open()
            find = store.get_experiment if route.by_id else store.get_experiment_by_name
            try:
                found = find(route.experiment)
            except Exception as error:
                if is_unknown(error):
                    return None
                raise
            return found and Experiment(str(found.experiment_id), found.name, found.lifecycle_stage == "active")

    def create_experiment(self, route: Route) -> str:
        """See `Directory`."""
        with self._faults(), _workspace(route.workspace):
            store, _ = self._open()
            try:
                return str(store.create_experiment(route.experiment))
            except Exception as error:
                if getattr(error, "error_code", "") == "RESOURCE_ALREADY_EXISTS":
                    return str(store.get_experiment_by_name(route.experiment).experiment_id)
                raise

    def _open(self) -> tuple[Store, Writer]:
        with self._opening:
            if self._opened is None:
                with self._turn:
                    store = open_store(self._settings)
                self._opened = store, self._writer(store)
            return self._opened

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except ExportError:
            raise
        except Exception as error:
            raise database_fault(error, self._where) from error


def import_store() -> None:
    """Import ahead what writing takes, and set MLflow up for it: it costs seconds and most of a process's memory.

    Raises:
        ImportError: mlflow is not installed, or lacks what is needed of it.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Else MLflow asks for fresh prices on the Internet while it writes, and without a way out waits a minute for them.
    os.environ.setdefault("MLFLOW_MODEL_CATALOG_URI", "")
    from mlflow.tracking._tracking_service import utils  # noqa: F401, PLC0415  only who needs it pays

    with contextlib.suppress(ImportError):  # an older MLflow than bulk rows are known of: `bulk_writer` says so
        from spanbridge.collector.exporters.mlflow.database import bulk  # noqa: F401, PLC0415  only who needs it pays


def open_store(settings: MlflowSettings) -> Store:
    """Open MLflow's store, which creates the tables of an empty database.

    Raises:
        ImportError: mlflow or the database's driver is not installed.
        ConfigError: As `prepare_database`.
        ExportError: The same.
        sqlalchemy.exc.SQLAlchemyError: The database can't be reached.
    """
    _probe(settings.tracking_uri)
    import_store()
    from mlflow.tracking._tracking_service import utils  # noqa: PLC0415  only who needs it pays

    from spanbridge.collector.exporters.mlflow.database.schema import prepare_database  # noqa: PLC0415  only who needs it pays

    prepare_database(settings.tracking_uri)
    make: Callable[[str, str], Store] = utils._get_sqlalchemy_store  # noqa: SLF001  it knows about workspaces
    store = make(settings.tracking_uri, settings.artifact_root)
    # MLflow logs a failed statement with its parameters, which are what the traces say.
    store.engine.hide_parameters = True
    return store


def _probe(uri: str) -> None:
    """Connect once: MLflow's own attempt goes on for minutes (store/db/utils.py MAX_RETRY_COUNT)."""
    from sqlalchemy import create_engine, pool  # noqa: PLC0415  only who needs it pays

    if not uri.startswith("sqlite"):
        create_engine(uri, poolclass=pool.NullPool).connect().close()


def _workspace(name: str) -> AbstractContextManager[Any]:
    if not name:
        return contextlib.nullcontext()
    from mlflow.utils.workspace_context import ServerWorkspaceContext  # noqa: PLC0415  only who needs it pays

    return ServerWorkspaceContext(name)


def bulk_writer(store: Store, turn: AbstractContextManager[Any]) -> Writer:
    """Return a writer of new traces as bulk rows; those that the store has, and the rest, go through `log_spans`.

    Of an MLflow whose tables are older than those of bulk rows, all of them do.
    """
    try:
        from spanbridge.collector.exporters.mlflow.database.bulk import BulkWriter, NewTrace  # noqa: PLC0415  only who needs it pays
    except ImportError as error:
        if not (error.name or "").startswith("mlflow."):
            raise
        _log.error(_SLOW, f"the installed MLflow has no {error.name}; install mlflow 3.17 or newer")
        return partial(log_records, store)
    bulk = BulkWriter(store, turn)
    if bulk.off:
        _log.error(_SLOW, bulk.off)

    def write(experiment_id: str, records: Sequence[TraceRecord]) -> Sequence[TraceRecord]:
        left = bulk.write((NewTrace.of(record) for record in records), experiment_id)
        return log_records(store, experiment_id, [records[index] for index in left])

    return write


def log_records(store: Store, experiment_id: str, records: Sequence[TraceRecord]) -> Sequence[TraceRecord]:
    """Write records through MLflow's `log_spans`, as its /v1/traces does (server/otel_api.py); see `Writer`.

    Args:
        store: MLflow's.
        experiment_id: The experiment they go to.
        records: What to write; the store may have parts of their traces already.

    Returns:
        All of the records, as `log_spans` takes nothing but spans.
    """
    if not records:
        return records
    from mlflow.entities.span import Span  # noqa: PLC0415  only who needs it pays

    resources = [record.resource for record in records]
    spans = [
        Span.from_otel_proto(span, resource=resource)
        for record, resource in zip(records, resources, strict=True)
        for span in record.spans
    ]
    store.log_spans(experiment_id, spans)
    return records


def _amend(store: Store, record: TraceRecord, experiment_id: str) -> None:
    stored = _stored(store, record.mlflow_id) if must_look(record) else assumed(record, experiment_id)
    update = amendment(record, stored) if stored else None
    if update is None:
        return
    if update.client_request_id:
        _start_trace(store, update)
    else:
        _end_trace(store, update)


def _stored(store: Store, trace_id: str) -> Stored | None:
    """What the store has of a trace; None if somebody has deleted it meanwhile, which is theirs to decide."""
    try:
        info = store.get_trace_info(trace_id)
    except Exception as error:
        if is_unknown(error):
            return None
        raise
    return Stored(str(info.experiment_id), known_state(info.state.value), info.request_time, info.execution_duration)


def _end_trace(store: Store, update: Amendment) -> None:
    from mlflow.entities.trace_status import TraceStatus  # noqa: PLC0415  only who needs it pays

    store.deprecated_end_trace_v2(
        request_id=update.trace_id,
        timestamp_ms=update.end_ms,
        status=TraceStatus(update.state),
        request_metadata=update.metadata,
        tags=update.tags,
    )


def _start_trace(store: Store, update: Amendment) -> None:
    from mlflow.entities import TraceInfo, TraceLocation, TraceState  # noqa: PLC0415  only who needs it pays

    store.start_trace(
        TraceInfo(
            trace_id=update.trace_id,
            trace_location=TraceLocation.from_experiment_id(update.experiment_id),
            request_time=update.start_ms,
            execution_duration=update.end_ms - update.start_ms,
            state=TraceState(update.state),
            trace_metadata=update.metadata,
            tags=update.tags,
            client_request_id=update.client_request_id,
        )
    )


def _link(store: Store, trace_ids: Sequence[str], run_id: str) -> None:
    """Link traces to a run; like MLflow's server, hold no trace up because the run doesn't exist."""
    try:
        for start in range(0, len(trace_ids), _MAX_LINKS):
            store.link_traces_to_run(list(trace_ids[start : start + _MAX_LINKS]), run_id)
    except Exception as error:
        if not is_unknown(error):
            raise
        _log.warning("run %s does not exist; %d traces are stored without it", run_id, len(trace_ids))
