"""The SQL of the journal's file: what is put and settled as statements, and records as they come back.

There are few statements for many rows, with lists of ids as one JSON parameter: each statement gives up the GIL, and
while the event loop is at work the thread gets it back only when the interpreter's switch interval (5 ms) is over. A
statement a row would make a commit of a hundred rows half a second long.

Each record carries a checksum of its columns. SQLite has none of its own (https://www.sqlite.org/cksumvfs.html is an
extension) and would hand out a rotten page as if it were sound: a trace would be stored with foreign bytes in it.
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

from spanbridge.collector.journal import REMEMBERED, TRACE_ID_BYTES, DeadLetter, DeadLetterLimits, Entry, Settlement
from spanbridge.collector.journal.context import dump

Statement: TypeAlias = tuple[str, Sequence[Any]]
"""SQL and the values of its question marks."""

Columns: TypeAlias = tuple[Any, ...]
"""A record of `rows` or `aside` as SQLite gives it: id, checksum of what follows, ..., context, payload."""


class Record(NamedTuple):
    """An entry on its way into the file.

    Attributes:
        time: When it arrived, in unix seconds.
        entry: What was put.
        context: Its context as bytes, as `journal.context` writes it.
    """

    time: float
    entry: Entry
    context: bytes

    @property
    def size(self) -> int:
        """Bytes that the entry takes of the journal's capacity."""
        return len(self.entry.payload) + len(self.context)


class Damaged(sqlite3.DatabaseError):
    """What was read from the file is not what was written to it."""


def insert_rows(items: Sequence[Record]) -> Statement:
    """Return the statement that inserts rows, whose ids follow each other in the order of `items`."""
    values: list[Any] = []
    for record in items:
        values += _sealed(float(record.time), record.entry.signal, record.size, record.context, record.entry.payload)
    places = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(items))
    return f"INSERT INTO rows (checksum, time, signal, bytes, context, payload) VALUES {places}", values  # noqa: S608


def apply_settlements(settlements: Sequence[Settlement]) -> Iterator[Statement]:
    """Yield the statements that apply settlements; what they say of rows that are gone does nothing.

    Rows go first: their trigger deletes what `parts` has of them, and `insert_parts` then leaves out a row that is
    gone. In the other order, or without that condition, a settlement of parts that comes late would leave records in
    `parts` that nothing ever deletes.
    """
    if gone := [row for settlement in settlements for row in settlement.rows]:
        yield "DELETE FROM rows WHERE id IN (SELECT value FROM json_each(?))", (orjson.dumps(gone).decode(),)
    parts = [pair for settlement in settlements for pair in settlement.parts.items()]
    if pairs := [(row, trace) for row, traces in parts for trace in traces]:
        yield insert_parts(pairs)
    for settlement in settlements:
        yield from map(_insert_dead_letter, settlement.dead_letters)
    if released := {trace: note for settlement in settlements for trace, note in settlement.released.items()}:
        yield _insert_released(released)
        yield "DELETE FROM released WHERE seq <= (SELECT max(seq) FROM released) - ?", (REMEMBERED,)


def _insert_released(released: Mapping[bytes, str]) -> Statement:
    """Remember traces (16 bytes each) that were released; REPLACE gives one that is released again the newest `seq`.

    All ids travel as one blob that is cut by place, as JSON holds no bytes.
    """
    insert = (
        f"INSERT OR REPLACE INTO released (trace, note) "  # noqa: S608
        f"SELECT substr(?, {TRACE_ID_BYTES} * key + 1, {TRACE_ID_BYTES}), value FROM json_each(?)"
    )
    return insert, (b"".join(released), orjson.dumps(list(released.values())).decode())


def insert_parts(pairs: Sequence[tuple[int, bytes]]) -> Statement:
    """Return the statement that notes (row, trace id of 16 bytes) pairs as settled, where the row is still there."""
    rows, traces = zip(*pairs, strict=True)
    insert = (
        f"INSERT OR IGNORE INTO parts SELECT value, substr(?, {TRACE_ID_BYTES} * key + 1, {TRACE_ID_BYTES})"  # noqa: S608
        " FROM json_each(?) WHERE value IN (SELECT id FROM rows)"
    )
    return insert, (b"".join(traces), orjson.dumps(rows).decode())


def _insert_dead_letter(item: DeadLetter) -> Statement:
    """Keep a dead letter, once: after a crash the same may come again, and `digest` is what it is known by."""
    context = dump(item.context)
    reason = item.reason.encode(errors="replace").decode()
    digest = blake2b(b"\0".join((item.exporter.encode(), item.payload)), digest_size=16).digest()
    size = len(context) + len(item.payload)
    columns = _sealed(float(item.time or time.time()), item.exporter, reason, digest, size, context, item.payload)
    return "INSERT OR IGNORE INTO aside VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", columns


def delete_oldest_dead_letters(limits: DeadLetterLimits) -> Statement:
    """Return the statement that deletes the oldest dead letters beyond the limits.

    Counted from the latest backwards, and never the latest itself: it may alone be larger than the limit, and to lose
    the one that an operator is about to look for would be worse than to go over.
    """
    beyond = (
        "SELECT id FROM (SELECT id, row_number() OVER latest AS place, sum(bytes) OVER latest AS held FROM aside"
        " WINDOW latest AS (ORDER BY id DESC)) WHERE place > 1 AND (place > ? OR held > ?)"
    )
    return f"DELETE FROM aside WHERE id IN ({beyond})", (limits.rows, limits.bytes)  # noqa: S608  a constant


def _sealed(*columns: Any) -> Columns:
    return _checksum(columns), *columns


def _checksum(columns: Iterable[Any]) -> int:
    """Return the CRC-32 of a record's columns, of numbers and texts in their Python spelling."""
    crc = 0
    for column in columns:
        crc = zlib.crc32(str(column).encode() if isinstance(column, (str, int, float)) else column, crc)
    return crc


def records(connection: sqlite3.Connection, table: str, after: int = 0, limit: int = -1) -> Generator[Columns]:
    """Yield the records of `rows` or `aside` past an id, in order.

    Args:
        connection: An open journal file.
        table: "rows" or "aside".
        after: The id past which to begin.
        limit: How many at most; -1 for all.

    Raises:
        Damaged: A record is not as it was written, or out of order.
        sqlite3.Error: The file can't be read.
    """
    # Not "id > ?": that would seek the id itself, which may be on a bad page when the next one is not, and a salvage
    # would lose the first record after each bad page.
    query = f"SELECT * FROM {table} WHERE id >= ? ORDER BY id LIMIT ?"  # noqa: S608  one of two literals
    with closing(connection.execute(query, (after + 1, limit))) as cursor:
        for columns in cursor:
            if columns[0] <= after or columns[1] != _checksum(columns[2:]):
                raise Damaged(f"record {columns[0]} of {table} is not as it was written")
            after = columns[0]
            yield columns
