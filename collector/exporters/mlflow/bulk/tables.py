"""Rows -> tables, by the fastest way a database has: COPY, or one INSERT for many rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from io import BytesIO
from itertools import chain
from typing import Any, TypeAlias

from mlflow.store.tracking.dbmodels.models import (
    SqlEntityAssociation,
    SqlSpan,
    SqlTraceInfo,
    SqlTraceMetadata,
    SqlTraceTag,
)
from sqlalchemy import Connection, Dialect, Table

from collector.exporters.mlflow.bulk import spans, traces
from collector.exporters.mlflow.bulk.spans import Row
from collector.exporters.mlflow.bulk.traces import TraceRows

Insert: TypeAlias = Callable[[Connection], None]
"""Puts rows that are ready into one table, within the transaction of the connection; raises what the driver raises."""

Ready: TypeAlias = Callable[[Sequence[Row]], Insert]
"""Makes rows ready for one table: what can be done before a transaction begins is done then."""

_PAIR = ("request_id", "key", "value")
_ASSOCIATION = ("association_id", "source_type", "source_id", "destination_type", "destination_id", "created_time")
_PIECE_BYTES = 1 << 20
_SQLITE_ROWS = 1024 if sqlite3.sqlite_version_info >= (3, 32) else 32  # bound parameters: 32,766, and 999 before
_NULL = "\x1a"  # marks null in COPY; the default, "\\N", would need its backslash kept apart from those of the data


class Tables:
    """The tables of a trace, each with its way in.

    Raises:
        LookupError: the database or its driver is none that we know a way for.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._info = _insert(dialect, SqlTraceInfo.__table__, traces.INFO_COLUMNS)
        self._spans = _insert(dialect, SqlSpan.__table__, spans.COLUMNS)
        self._tags = _insert(dialect, SqlTraceTag.__table__, _PAIR)
        self._metadata = _insert(dialect, SqlTraceMetadata.__table__, _PAIR)
        self._links = _insert(dialect, SqlEntityAssociation.__table__, _ASSOCIATION)

    def ready(self, new: Iterable[TraceRows]) -> list[Insert]:
        """What inserts the traces, in the order of their ids: of two writers one then waits, instead of both."""
        ordered = sorted(new, key=lambda trace: trace.id)
        of_tables = (
            (self._info, [trace.info for trace in ordered]),
            (self._spans, [row for trace in ordered for row in trace.spans]),
            (self._tags, [row for trace in ordered for row in trace.tags]),
            (self._metadata, [row for trace in ordered for row in trace.metadata]),
            (self._links, [row for trace in ordered for row in trace.links]),
        )
        return [ready(rows) for ready, rows in of_tables if rows]


def _insert(dialect: Dialect, table: Table, columns: Sequence[str]) -> Ready:
    quoted = dialect.identifier_preparer
    target = f"{quoted.format_table(table)} ({', '.join(quoted.format_column(table.c[name]) for name in columns)})"
    match dialect.name, dialect.driver:
        case "postgresql", "psycopg":
            return _copy(target, _write_psycopg)
        case "postgresql", "psycopg2":
            return _copy(target, _write_psycopg2)
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
    """INSERTs of 1024, 512, ..., 1 rows: few statements to keep prepared, and few moments at which to wait for the GIL.

    An executemany gives the GIL back and asks for it at every row; beside busy threads that takes twice as long.
    """

    @cache
    def statement(count: int) -> str:
        row = f"({', '.join('?' * columns)})"
        return f"INSERT INTO {target} VALUES {', '.join([row] * count)}"  # noqa: S608  MLflow's own tables

    def ready(rows: Sequence[Row]) -> Insert:
        steps, start = [], 0
        while left := len(rows) - start:
            count = min(_SQLITE_ROWS, 1 << left.bit_length() - 1)
            steps.append((statement(count), tuple(chain.from_iterable(rows[start : start + count]))))
            start += count

        def insert(connection: Connection) -> None:
            for statement_, values in steps:
                connection.exec_driver_sql(statement_, values)

        return insert

    return ready


def _copy(target: str, write: Callable[[Any, str, bytes], None]) -> Ready:
    statement = f"COPY {target} FROM STDIN WITH (ENCODING 'UTF8', NULL E'\\x1a')"

    def ready(rows: Sequence[Row]) -> Insert:
        text = copy_text(rows)
        return lambda connection: write(connection.connection.cursor(), statement, text)

    return ready


def copy_text(rows: Sequence[Row]) -> bytes:
    """Rows in COPY's text format, which measures no slower than the binary one."""
    return "".join([_line(row) for row in rows]).encode()


def _line(row: Row) -> str:
    """A row; it is searched as a whole for what has to be escaped, as there rarely is more than a backslash."""
    texts = [_NULL if value is None else value if isinstance(value, str) else repr(value) for value in row]
    line = "\t".join(texts)
    if line.count("\t") >= len(row) or "\n" in line or "\r" in line or line.count(_NULL) != row.count(None):
        return "\t".join([_NULL if value is None else _escaped(str(value)) for value in row]) + "\n"
    return line.replace("\\", "\\\\") + "\n"


def _escaped(text: str) -> str:
    """PostgreSQL's manual, COPY, "File Formats": every special character, and ours for null."""
    for plain, escaped in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"), (_NULL, "\\x1a")):
        text = text.replace(plain, escaped)
    return text


def _write_psycopg(cursor: Any, statement: str, data: bytes) -> None:
    with cursor, cursor.copy(statement) as copy:
        copy.write(data)


def _write_psycopg2(cursor: Any, statement: str, data: bytes) -> None:
    with cursor:
        cursor.copy_expert(statement, BytesIO(data), _PIECE_BYTES)
