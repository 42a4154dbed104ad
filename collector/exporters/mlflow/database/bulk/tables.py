"""Rows -> tables, by the fastest way a database has: COPY, or one INSERT for many rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from io import BytesIO
from itertools import chain, repeat
from struct import Struct
from typing import Any, TypeAlias

from mlflow.store.tracking.dbmodels.models import (
    SqlEntityAssociation,
    SqlSpan,
    SqlTraceInfo,
    SqlTraceMetadata,
    SqlTraceTag,
)
from sqlalchemy import BigInteger, Column, Connection, Dialect, Float, Integer, String, Table

from spanbridge.collector.exporters.mlflow.database.bulk import spans, traces
from spanbridge.collector.exporters.mlflow.database.bulk.spans import Row
from spanbridge.collector.exporters.mlflow.database.bulk.traces import TraceRows

Insert: TypeAlias = Callable[[Connection], None]
"""Puts rows that are ready into one table, within the transaction of the connection; raises what the driver raises."""

Field: TypeAlias = Callable[[Any], bytes]
"""A value, or none, as COPY's binary format has it: its length and itself."""

Ready: TypeAlias = Callable[[Sequence[Row]], Insert]
"""Makes rows ready for one table: what can be done before a transaction begins is done then."""

_PAIR = ("request_id", "key", "value")
_ASSOCIATION = ("association_id", "source_type", "source_id", "destination_type", "destination_id", "created_time")
_PIECE_BYTES = 1 << 20
_SQLITE_PARAMETERS = 32_766 if sqlite3.sqlite_version_info >= (3, 32) else 999
_HEAD, _TAIL = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_RECURRING = frozenset({"trace_id", "request_id", "key", "name", "type", "status", "model_name", "model_provider"})
"""Columns with texts that come again within a trace, or from trace to trace."""
_REMEMBERED = 1024
_FOUR, _EIGHT = (4).to_bytes(4), (8).to_bytes(4)
_DOUBLE = Struct(">d").pack


class Tables:
    """The tables of a trace, each with its way in.

    Raises:
        LookupError: The database or its driver is none that we know a way for.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._info = _insert(dialect, SqlTraceInfo.__table__, traces.INFO_COLUMNS)
        self._spans = _insert(dialect, SqlSpan.__table__, spans.COLUMNS)
        self._tags = _insert(dialect, SqlTraceTag.__table__, _PAIR)
        self._metadata = _insert(dialect, SqlTraceMetadata.__table__, _PAIR)
        self._links = _insert(dialect, SqlEntityAssociation.__table__, _ASSOCIATION)

    def ready(self, new: Iterable[TraceRows]) -> list[Insert]:
        """Make rows ready to be inserted.

        Traces are put in the order of their ids: of two writers that meet in two traces one then waits for the other.
        In different orders each would wait for the other, until the database ends one.

        Args:
            new: The rows of traces.

        Returns:
            What inserts them, table by table, to be called in a transaction in that order.
        """
        ordered = sorted(new, key=lambda trace: trace.id)
        of_tables = (
            (self._info, [trace.info for trace in ordered]),
            (self._spans, [row for trace in ordered for row in trace.spans]),
            (self._tags, [row for trace in ordered for row in trace.tags]),
            (self._metadata, [row for trace in ordered for row in trace.metadata]),
            (self._links, [row for trace in ordered for row in trace.links]),
        )
        return [ready(rows) for ready, rows in of_tables if rows]


def has_way_into(dialect: Dialect) -> bool:
    """Return whether a way to insert many rows is known for a database and its driver."""
    try:
        Tables(dialect)
    except LookupError:
        return False
    return True


def _insert(dialect: Dialect, table: Table, columns: Sequence[str]) -> Ready:
    quoted = dialect.identifier_preparer
    target = f"{quoted.format_table(table)} ({', '.join(quoted.format_column(table.c[name]) for name in columns)})"
    match dialect.name, dialect.driver:
        case "postgresql", "psycopg":
            return _copy(target, [_field(table.c[name]) for name in columns], _write_psycopg)
        case "postgresql", "psycopg2":
            return _copy(target, [_field(table.c[name]) for name in columns], _write_psycopg2)
        case "sqlite", _:
            return _insert_statements(target, len(columns))
        case (("mysql" | "mariadb"), ("pymysql" | "mysqldb")):  # both join the rows of an executemany into one INSERT
            return _insert_many(target, len(columns))
    raise LookupError(f"no bulk insert is known for {dialect.name}+{dialect.driver}")


def _insert_many(target: str, columns: int) -> Ready:
    """An executemany, of which MySQL's drivers make INSERTs of many rows."""
    statement = f"INSERT INTO {target} VALUES ({', '.join(['%s'] * columns)})"  # noqa: S608  MLflow's own tables

    def ready(rows: Sequence[Row]) -> Insert:
        def insert(connection: Connection) -> None:
            connection.exec_driver_sql(statement, list(rows))

        return insert

    return ready


def _insert_statements(target: str, columns: int) -> Ready:
    """INSERTs of ..., 4, 2, 1 rows: few statements to keep prepared, and few moments at which to wait for the GIL.

    An executemany gives the GIL back and asks for it at every row; beside busy threads that takes twice as long.
    """

    @cache
    def statement(count: int) -> str:
        row = f"({', '.join('?' * columns)})"
        return f"INSERT INTO {target} VALUES {', '.join([row] * count)}"  # noqa: S608  MLflow's own tables

    def ready(rows: Sequence[Row]) -> Insert:
        steps, start = [], 0
        while left := len(rows) - start:
            count = 1 << min(left, _SQLITE_PARAMETERS // columns).bit_length() - 1
            steps.append((statement(count), tuple(chain.from_iterable(rows[start : start + count]))))
            start += count

        def insert(connection: Connection) -> None:
            for statement_, values in steps:
                connection.exec_driver_sql(statement_, values)

        return insert

    return ready


def _copy(target: str, fields: Sequence[Field], write: Callable[[Any, str, bytes], None]) -> Ready:
    statement = f"COPY {target} FROM STDIN WITH (FORMAT binary)"

    def ready(rows: Sequence[Row]) -> Insert:
        data = copy_data(rows, fields)
        return lambda connection: write(connection.connection.cursor(), statement, data)

    return ready


def copy_data(rows: Sequence[Row], fields: Sequence[Field]) -> bytes:
    """Write rows in COPY's binary format (PostgreSQL's manual, COPY, "Binary Format"): nothing is escaped in it.

    It is made column by column, so that the interpreter takes no step for a value that is remembered.
    """
    columns = [map(field, column) for field, column in zip(fields, zip(*rows, strict=True), strict=bool(rows))]
    in_rows = zip(repeat(len(fields).to_bytes(2), len(rows)), *columns, strict=True)
    return b"".join(chain((_HEAD,), chain.from_iterable(in_rows), (_TAIL,)))


def _field(column: Column[Any]) -> Field:
    match column.type:
        case BigInteger():
            return _int8
        case Integer():
            return _recurring_int4
        case Float():
            return _float8
        case String():
            return _recurring_text if column.name in _RECURRING else _text
    raise LookupError(f"no binary form is known for {column.table.name}.{column.name}")


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    data = value.encode()
    return len(data).to_bytes(4) + data


def _int4(value: int | None) -> bytes:
    return _NULL if value is None else _FOUR + value.to_bytes(4, signed=True)


def _int8(value: int | None) -> bytes:
    return _NULL if value is None else _EIGHT + value.to_bytes(8, signed=True)


_recurring_text = lru_cache(_REMEMBERED)(_text)
_recurring_int4 = lru_cache(_REMEMBERED)(_int4)


def _float8(value: float | None) -> bytes:
    return _NULL if value is None else _EIGHT + _DOUBLE(value)


def _write_psycopg(cursor: Any, statement: str, data: bytes) -> None:
    with cursor, cursor.copy(statement) as copy:
        copy.write(data)


def _write_psycopg2(cursor: Any, statement: str, data: bytes) -> None:
    with cursor:
        cursor.copy_expert(statement, BytesIO(data), _PIECE_BYTES)
