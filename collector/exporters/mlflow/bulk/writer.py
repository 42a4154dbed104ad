"""Whole traces into the tracking database: new ones in bulk, the rest handed back for MLflow's own store."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Iterable, Sequence

from mlflow.environment_variables import MLFLOW_TRACE_ARCHIVAL_CONFIG
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _get_latest_schema_revision
from mlflow.store.tracking.dbmodels.models import SqlTraceInfo
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.tracking.utils.sql_trace_rollups import rollups_enabled
from mlflow.version import VERSION
from sqlalchemy import Connection, select

from collector.exporters.mlflow.bulk.failures import Failure, Failures
from collector.exporters.mlflow.bulk.schema import KNOWN_REVISION, KNOWN_SERIES
from collector.exporters.mlflow.bulk.tables import Tables
from collector.exporters.mlflow.bulk.tags import LocationTags
from collector.exporters.mlflow.bulk.traces import NewTrace, Place, TraceDecoder, TraceRows
from collector.exporters.mlflow.bulk.values import Unfit
from collector.exporters.mlflow.database_faults import database_fault

_log = logging.getLogger(__name__)

_TRACE_ID = SqlTraceInfo.__table__.c.request_id
_ATTEMPTS = 6
_IDS_PER_QUERY = 500  # below every database's bound on parameters
_SQLITE_WAIT_MS = 20_000  # as MLflow's own sessions wait
_COMPRESS_QUICKLY = """
SELECT set_config(name, 'lz4', true) FROM pg_settings
WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)
"""
"""For this transaction: pglz, the usual default, took a sixth of the time that PostgreSQL spends on spans."""


class BulkWriter:
    """Writes traces that are new to a tracking database as MLflow's `log_spans` would, a batch in one transaction.

    `write` may be called from several threads at a time. `off` says why nothing goes the bulk way; "" if all may.
    """

    def __init__(self, store: SqlAlchemyStore) -> None:
        self._store = store
        self._engine = store.engine
        self._failures = Failures(self._engine.dialect)
        self._decode = TraceDecoder()
        self._locations: dict[str, LocationTags] = {}
        self._preparing = threading.Lock()
        # SQLite takes one writer at a time; threads that wait in its own busy handler wait by sleeping.
        self._turn = threading.Lock() if self._engine.dialect.name == "sqlite" else contextlib.nullcontext()
        self.off = _why_not(store)
        if not self.off:
            try:
                self._tables = Tables(self._engine.dialect)
            except LookupError as error:
                self.off = str(error)
        if self.off:
            _log.warning("traces go through MLflow's own store, which is slow: %s", self.off)

    def write(
        self, traces: Iterable[NewTrace], experiment_id: str, *, run_id: str = "", workspace: str = ""
    ) -> list[int]:
        """Write the traces that are new to the store; return the positions of the others, in their order.

        What is left is for MLflow's own `log_spans`: traces the store has already, and what is not known here. `run_id`
        is the run to link finished traces to. One thread at a time iterates over its traces and makes rows of them:
        more would only take the interpreter from each other and from those who accept spans.

        Raises:
            Retryable: the database can't be reached. Some traces may have been written, and will be left next time.
            Held: it does not let us in any more; the same.
        """
        place = None if self.off or workspace else self._place(experiment_id, run_id)
        with self._preparing:
            decoded = [(trace.mlflow_id, self._decoded(trace, place)) for trace in traces]
        new = self._new(decoded)
        written = self._insert({rows.id: rows for rows in new.values()})
        return [index for index in range(len(decoded)) if index not in new or new[index].id not in written]

    def _place(self, experiment_id: str, run_id: str) -> Place | None:
        try:
            number = int(experiment_id)
            tags = self._locations.get(experiment_id)
            if tags is None:
                experiment = self._store.get_experiment(experiment_id)
                tags = self._locations[experiment_id] = LocationTags(experiment.artifact_location)
        except (ValueError, MlflowException):
            return None  # MLflow's own store says it better
        return Place(number, tags, run_id)

    def _decoded(self, trace: NewTrace, place: Place | None) -> TraceRows | None:
        """The rows of a trace, if it can go the bulk way."""
        try:
            return None if place is None else self._decode(trace, place)
        except Exception as error:  # noqa: BLE001  whatever it is, MLflow's own store decides
            reason = error if isinstance(error, Unfit) else type(error).__name__
            _log.debug("trace %s goes through MLflow's own store: %s", trace.mlflow_id, reason)
            return None

    def _new(self, decoded: Sequence[tuple[str, TraceRows | None]]) -> dict[int, TraceRows]:
        """The rows of traces that are new to the store, by their position; of each trace the first part at most."""
        settled = self._stored({rows.id for _, rows in decoded if rows is not None})
        new: dict[int, TraceRows] = {}
        for index, (trace_id, rows) in enumerate(decoded):
            if rows is not None and trace_id not in settled:
                new[index] = rows
            settled.add(trace_id)
        return new

    def _stored(self, ids: Iterable[str]) -> set[str]:
        """Those of the traces that the store has."""
        ids = sorted(ids)
        found: set[str] = set()
        try:
            with self._engine.connect() as connection:
                for start in range(0, len(ids), _IDS_PER_QUERY):
                    some = _TRACE_ID.in_(ids[start : start + _IDS_PER_QUERY])
                    found.update(connection.scalars(select(_TRACE_ID).where(some)))
        except self._failures.types as error:
            raise database_fault(error, "reading the tracking database") from error
        return found

    def _insert(self, new: dict[str, TraceRows]) -> set[str]:
        """Insert traces; return the ids of those that were. A trace that another writer was first with is left out."""
        for attempt in range(_ATTEMPTS if new else 0):
            match self._try(new.values()):
                case None:
                    return set(new)
                case Failure.CONFLICT:
                    others = self._stored(new)
                    if not others:
                        return set()
                    new = {trace_id: rows for trace_id, rows in new.items() if trace_id not in others}
                case Failure.AGAIN:
                    time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311  jitter, no secret
                case Failure.DATA if len(new) > 1:
                    half = len(new) // 2
                    items = list(new.items())
                    return self._insert(dict(items[:half])) | self._insert(dict(items[half:]))
                case _:
                    return set()
        return set()

    def _try(self, new: Iterable[TraceRows]) -> Failure | None:
        try:
            with self._preparing:
                ready = self._tables.ready(new)
            with self._turn, self._engine.begin() as connection:
                _begin(connection)
                for insert in ready:
                    insert(connection)
        except self._failures.types as error:
            failure = self._failures.kind(error)
            if failure is Failure.DOWN:
                raise database_fault(error, "writing the tracking database") from error
            return failure
        return None


def _begin(connection: Connection) -> None:
    """Take SQLite's write lock at once, with the settings of MLflow's sessions; others lock as they write."""
    match connection.dialect.name:
        case "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {_SQLITE_WAIT_MS}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        case "postgresql":
            connection.exec_driver_sql(_COMPRESS_QUICKLY)


def _why_not(store: SqlAlchemyStore) -> str:
    """What of this store or process the bulk path does not know; "" if it knows all."""
    if type(store) is not SqlAlchemyStore:
        return f"{type(store).__name__} is not MLflow's plain database store (workspaces?)"
    if not VERSION.startswith(KNOWN_SERIES) or _get_latest_schema_revision() != KNOWN_REVISION:
        return f"the bulk way knows MLflow {KNOWN_SERIES}x, installed is {VERSION}"
    if rollups_enabled():
        return "MLFLOW_SQL_TRACE_ROLLUPS_ENABLED is on"
    if MLFLOW_TRACE_ARCHIVAL_CONFIG.get():
        return "MLFLOW_TRACE_ARCHIVAL_CONFIG is set"
    return ""
