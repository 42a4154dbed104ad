"""Whole traces into the tracking database: new ones in bulk, the rest handed back for MLflow's own store."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlflow.environment_variables import MLFLOW_TRACE_ARCHIVAL_CONFIG
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels.models import SqlTraceInfo
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.tracking.utils.sql_trace_rollups import rollups_enabled
from sqlalchemy import Connection, select

from spanbridge.collector.exporters.mlflow.database.bulk.failures import Failure, Failures
from spanbridge.collector.exporters.mlflow.database.bulk.foreign_keys import leave_out_references
from spanbridge.collector.exporters.mlflow.database.bulk.layout import differences
from spanbridge.collector.exporters.mlflow.database.bulk.tables import Insert, Tables, has_way_into
from spanbridge.collector.exporters.mlflow.database.bulk.tags import LocationTags
from spanbridge.collector.exporters.mlflow.database.bulk.traces import NewTrace, Place, TraceDecoder, TraceRows
from spanbridge.collector.exporters.mlflow.database.bulk.values import Unfit
from spanbridge.collector.exporters.mlflow.database.faults import database_fault

_log = logging.getLogger(__name__)

_TRACE_ID = SqlTraceInfo.__table__.c.request_id
_ATTEMPTS = 6
_LOOK = "SELECT request_id FROM trace_info WHERE request_id"
_IDS_PER_QUERY = 500  # below every database's bound on parameters
_SQLITE_WAIT_MS = 20_000  # as MLflow's own sessions wait
_KNOWS_LZ4 = "SELECT count(*) FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)"
_COMPRESS_QUICKLY = "SET LOCAL default_toast_compression = 'lz4'"
"""For this transaction: pglz, the usual default, took a sixth of the time that PostgreSQL spends on spans."""


class BulkWriter:
    """A writer of traces that are new to a tracking database: the rows of MLflow's `log_spans`, a batch a transaction.

    `write` may be called from several threads at a time. `off` says why nothing goes the bulk way; "" if all may.

    Args:
        store: MLflow's store of the database.
        turn: A lock that a transaction of SQLite holds; None for one of this writer's own. SQLite takes one writer at a
            time, and who waits in its busy handler sleeps, ever longer, while others come first. So two writers, be
            they threads or processes, wait for this lock, which the next one gets at once.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: The database can't be asked for its tables.
    """

    def __init__(self, store: SqlAlchemyStore, turn: contextlib.AbstractContextManager[Any] | None = None) -> None:
        self._store = store
        self._engine = store.engine
        self._failures = Failures(self._engine.dialect)
        self._decode = TraceDecoder()
        self._locations: dict[str, LocationTags] = {}
        self._preparing = threading.Lock()
        is_sqlite = self._engine.dialect.name == "sqlite"
        self._turn = (turn or threading.Lock()) if is_sqlite else contextlib.nullcontext()
        self.off = _why_not(store)
        if not self.off:
            self._tables = Tables(self._engine.dialect)

    def write(
        self, traces: Iterable[NewTrace], experiment_id: str, *, run_id: str = "", workspace: str = ""
    ) -> list[int]:
        """Write the traces that are new to the store.

        One thread at a time iterates over its traces and makes rows of them: more would only take the interpreter from
        each other.

        Args:
            traces: They may hold several parts of a trace, of which the first is written.
            experiment_id: The experiment they go to.
            run_id: The run to link finished traces to; "" for none.
            workspace: The workspace of the experiment, whose traces all are left; "" for none.

        Returns:
            The positions of the traces that are left, in their order, for MLflow's own `log_spans`: those that the
            store has already, and what is not known here.

        Raises:
            Retryable: The database can't be reached. Some traces may have been written, and will be left next time.
            Held: It does not let us in any more; the same.
        """
        place = None if self.off or workspace else self._place(experiment_id, run_id)
        with self._preparing:
            decoded = [(trace.mlflow_id, self._decoded(trace, place)) for trace in traces]
            first = _first_parts(decoded)
            new = {rows.id: rows for rows in first.values()}
            ready = self._ready(new) if new else None
        written = self._insert(new, ready)
        return [index for index in range(len(decoded)) if index not in first or first[index].id not in written]

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

    def _ready(self, new: Mapping[str, TraceRows]) -> Sequence[Insert] | None:
        """What inserts traces; None if a value refuses to be made ready."""
        try:
            return self._tables.ready(new.values())
        except self._failures.types:
            return None

    def _insert(self, new: dict[str, TraceRows], ready: Sequence[Insert] | None = None) -> set[str]:
        """Insert traces; return the ids of those that were. Those that the store has are left out.

        `ready` is what inserts them; without it they are made ready within the transaction.
        """
        for attempt in range(_ATTEMPTS if new else 0):
            match self._try(new, ready):
                case set() as written:
                    return written
                case Failure.CONFLICT:
                    if not self._stored(new):
                        return set()
                case Failure.AGAIN:
                    time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311  jitter, no secret
                case Failure.DATA if len(new) > 1:
                    half = len(new) // 2
                    items = list(new.items())
                    return self._insert(dict(items[:half])) | self._insert(dict(items[half:]))
                case _:
                    return set()
        return set()

    def _try(self, new: dict[str, TraceRows], ready: Sequence[Insert] | None) -> set[str] | Failure:
        """Insert traces in one transaction; return the ids of those that were, or what went wrong.

        Traces that the store has are looked for within it. Before it, the look-up would wait in SQLite for another's
        transaction to end, and what came in between would still be a conflict.
        """
        try:
            with self._turn, self._engine.begin() as connection:
                _begin(connection)
                leave_out_references(connection, next(iter(new.values())).experiment_id)
                if stored := _stored(connection, new):
                    new = {trace_id: rows for trace_id, rows in new.items() if trace_id not in stored}
                    ready = None
                for insert in self._tables.ready(new.values()) if ready is None else ready:
                    insert(connection)
        except self._failures.types as error:
            failure = self._failures.kind(error)
            if failure is Failure.DOWN:
                raise database_fault(error, "writing the tracking database") from error
            return failure
        return set(new)

    def _stored(self, ids: Iterable[str]) -> set[str]:
        """Those of the traces that the store has."""
        try:
            with self._engine.connect() as connection:
                return _stored(connection, ids)
        except self._failures.types as error:
            raise database_fault(error, "reading the tracking database") from error


def _first_parts(decoded: Iterable[tuple[str, TraceRows | None]]) -> dict[int, TraceRows]:
    """The rows of traces by their position; of each trace the first part at most, and none after one without rows."""
    first: dict[int, TraceRows] = {}
    met = set()
    for index, (trace_id, rows) in enumerate(decoded):
        if rows is not None and trace_id not in met:
            first[index] = rows
        met.add(trace_id)
    return first


def _stored(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Those of the traces that the store has."""
    ids, found = sorted(ids), set[str]()
    for start in range(0, len(ids), _IDS_PER_QUERY):
        found.update(_among(connection, ids[start : start + _IDS_PER_QUERY]))
    return found


def _among(connection: Connection, ids: Sequence[str]) -> Iterable[str]:
    """Those of some ids, which have no comma, that the store has. SQLAlchemy takes 3 ms to write out 256 parameters."""
    match connection.dialect.name:
        case "postgresql":
            listed = "= ANY (string_to_array(%s, ','))"
            return connection.exec_driver_sql(f"{_LOOK} {listed}", (",".join(ids),)).scalars()
        case "sqlite":
            listed = f"IN ({', '.join('?' * len(ids))})"
            return connection.exec_driver_sql(f"{_LOOK} {listed}", tuple(ids)).scalars()
        case _:
            return connection.scalars(select(_TRACE_ID).where(_TRACE_ID.in_(ids)))


def _begin(connection: Connection) -> None:
    """Take SQLite's write lock at once, with the settings of MLflow's sessions; others lock as they write."""
    match connection.dialect.name:
        case "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {_SQLITE_WAIT_MS}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        case "postgresql" if _knows_lz4(connection):
            connection.exec_driver_sql(_COMPRESS_QUICKLY)


def _knows_lz4(connection: Connection) -> bool:
    """Asked once for each connection to the server, as it takes that almost a millisecond."""
    if "lz4" not in connection.info:
        connection.info["lz4"] = bool(connection.exec_driver_sql(_KNOWS_LZ4).scalar_one())
    return bool(connection.info["lz4"])


def _why_not(store: SqlAlchemyStore) -> str:
    """What of this store or process the bulk path does not know; "" if it knows all."""
    if type(store) is not SqlAlchemyStore:
        return f"{type(store).__name__} is not MLflow's plain database store (workspaces?)"
    if not has_way_into(store.engine.dialect):
        return f"no bulk insert is known for {store.engine.dialect.name}+{store.engine.dialect.driver}"
    if rollups_enabled():
        return "MLFLOW_SQL_TRACE_ROLLUPS_ENABLED is on"
    if MLFLOW_TRACE_ARCHIVAL_CONFIG.get():
        return "MLFLOW_TRACE_ARCHIVAL_CONFIG is set"
    if differ := differences(store.engine):
        return f"MLflow's tables are not those that spanbridge knows: {'; '.join(differ)}"
    return ""
