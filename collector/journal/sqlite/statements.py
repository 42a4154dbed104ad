"""Pure: what is put and settled as SQL statements, and records as they come back.

Few statements for many rows: each gives up the GIL, and while the event loop is at work gets it back only when the
interpreter's switch interval (5 ms) is over.
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias

import orjson

from spanbridge.collector.journal import REMEMBERED, AsideLimits, Entry, SetAside, Settlement
from spanbridge.collector.journal.context import dump

TRACE_ID_BYTES = 16

Statement: TypeAlias = tuple[str, Sequence[Any]]
"""SQL, and what stands for its question marks."""

Columns: TypeAlias = tuple[Any, ...]
"""A record of `rows` or `aside`, as SQLite gives it: id, checksum of what follows, ..., context, payload."""


class Record(NamedTuple):
    """An entry on its way into the file: `time` is when it arrived (unix s), `context` its context as bytes."""

    time: float
    entry: Entry
    context: bytes

    @property
    def size(self) -> int:
        """What the entry takes of the journal's capacity."""
        return len(self.entry.payload) + len(self.context)


class Damaged(sqlite3.DatabaseError):
    """What was read is not what was written."""


def insert_rows(items: Sequence[Record]) -> Statement:
    """Insert rows, whose ids follow each other."""
    values: list[Any] = []
    for record in items:
        values += _sealed(float(record.time), record.entry.signal, record.size, record.context, record.entry.payload)
    places = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(items))
    return f"INSERT INTO rows (checksum, time, signal, bytes, context, payload) VALUES {places}", values  # noqa: S608


def apply_settlements(settlements: Sequence[Settlement]) -> Iterator[Statement]:
    """Apply settlements; whatever is of rows that are gone does nothing."""
    if gone := [row for settlement in settlements for row in settlement.rows]:
        yield "DELETE FROM rows WHERE id IN (SELECT value FROM json_each(?))", (orjson.dumps(gone).decode(),)
    parts = [pair for settlement in settlements for pair in settlement.parts.items()]
    if pairs := [(row, trace) for row, traces in parts for trace in traces]:
        yield insert_parts(pairs)
    for settlement in settlements:
        yield from map(_insert_dead_letter, settlement.aside)
    if released := {trace: note for settlement in settlements for trace, note in settlement.released.items()}:
        yield _insert_released(released)
        yield "DELETE FROM released WHERE seq <= (SELECT max(seq) FROM released) - ?", (REMEMBERED,)


def _insert_released(released: Mapping[bytes, str]) -> Statement:
    """Remember traces (16 bytes each) that were handed on."""
    insert = (
        f"INSERT OR REPLACE INTO released (trace, note) "  # noqa: S608
        f"SELECT substr(?, {TRACE_ID_BYTES} * key + 1, {TRACE_ID_BYTES}), value FROM json_each(?)"
    )
    return insert, (b"".join(released), orjson.dumps(list(released.values())).decode())


def insert_parts(pairs: Sequence[tuple[int, bytes]]) -> Statement:
    """Note that traces (16 bytes each) of rows are settled."""
    rows, traces = zip(*pairs, strict=True)
    insert = (
        f"INSERT OR IGNORE INTO parts SELECT value, substr(?, {TRACE_ID_BYTES} * key + 1, {TRACE_ID_BYTES})"  # noqa: S608
        " FROM json_each(?) WHERE value IN (SELECT id FROM rows)"
    )
    return insert, (b"".join(traces), orjson.dumps(rows).decode())


def _insert_dead_letter(item: SetAside) -> Statement:
    """Keep spans, once: after a crash the same may be set aside again."""
    context = dump(item.context)
    reason = item.reason.encode(errors="replace").decode()
    digest = blake2b(b"\0".join((item.exporter.encode(), item.payload)), digest_size=16).digest()
    size = len(context) + len(item.payload)
    columns = _sealed(float(item.time or time.time()), item.exporter, reason, digest, size, context, item.payload)
    return "INSERT OR IGNORE INTO aside VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", columns


def delete_oldest_dead_letters(limits: AsideLimits) -> Statement:
    """Drop what is set aside beyond the limits."""
    beyond = (
        "SELECT id FROM (SELECT id, row_number() OVER latest AS place, sum(bytes) OVER latest AS held FROM aside"
        " WINDOW latest AS (ORDER BY id DESC)) WHERE place > 1 AND (place > ? OR held > ?)"
    )
    return f"DELETE FROM aside WHERE id IN ({beyond})", (limits.rows, limits.bytes)  # noqa: S608  a constant


def _sealed(*columns: Any) -> Columns:
    return _checksum(columns), *columns


def _checksum(columns: Iterable[Any]) -> int:
    """CRC-32 of a record's columns. SQLite keeps none of its own and would hand out rotten pages as they are."""
    crc = 0
    for column in columns:
        crc = zlib.crc32(str(column).encode() if isinstance(column, (str, int, float)) else column, crc)
    return crc


def records(connection: sqlite3.Connection, table: str, after: int = 0, limit: int = -1) -> Generator[Columns]:
    """The records of `rows` or `aside` past an id, in order. Raises `Damaged` at one that is not as it was written."""
    # Not "id > ?": that would seek the id itself, which may be on a bad page when the next one is not.
    query = f"SELECT * FROM {table} WHERE id >= ? ORDER BY id LIMIT ?"  # noqa: S608  one of two literals
    with closing(connection.execute(query, (after + 1, limit))) as cursor:
        for columns in cursor:
            if columns[0] <= after or columns[1] != _checksum(columns[2:]):
                raise Damaged(f"record {columns[0]} of {table} is not as it was written")
            after = columns[0]
            yield columns
