"""A damaged journal file: saving the rows that can be read, and moving it out of the way.

The saved rows are written to `<name>.salvaging`, which becomes `<name>.salvaged` when it is complete; then the damaged
file is moved to `<name>.corrupt-<utc>` and the saved one takes its place. A crash in between is made good at the next
start by `finish_salvage`, or by starting over.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from spanbridge.collector.journal.sqlite.database import Database, is_damage
from spanbridge.collector.journal.sqlite.schema import connect, transaction
from spanbridge.collector.journal.sqlite.statements import Columns, insert_parts, records

_HEADER = 100
_MAGIC = b"SQLite format 3\0"
_BEYOND_ALL_IDS = 1 << 62
_UNREADABLE = (  # besides what is damage anywhere: a table that is missing, a bad sector
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
)


def salvage(path: Path, *, newest_id: int = 0) -> tuple[Path, int]:
    """Put a sound file in the place of a damaged one that nobody has open; where that went, how many rows were saved.

    Rows keep their ids, and new ones get ids past `newest_id`, so that what the process knows of rows stays right.
    Raises OSError or sqlite3.Error when the disk has no room for it; then nothing has changed.
    """
    fresh = path.with_name(path.name + ".salvaging")
    for leftover in _files(fresh):
        leftover.unlink(missing_ok=True)
    with closing(Database(fresh)) as target:
        target.connection.execute("PRAGMA journal_mode = OFF")  # a crash has it made anew
        with transaction(target.connection):
            saved = _save(path, target, newest_id)
    fresh.rename(_salvaged(path))
    return _replace(path), saved


def finish_salvage(path: Path) -> Path | None:
    """Let a salvaged file take its place, if a crash kept it from that; where the damaged one went."""
    return _replace(path) if _salvaged(path).exists() else None


def _replace(path: Path) -> Path:
    moved = path.with_name(f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    for source, target in zip(_files(path), _files(moved), strict=True):
        with suppress(FileNotFoundError):
            source.rename(target)
    _salvaged(path).rename(path)
    return moved


def _salvaged(path: Path) -> Path:
    return path.with_name(path.name + ".salvaged")


def _files(path: Path) -> tuple[Path, Path, Path]:
    """A database's files, the database itself last: without it, the others are no use to anybody."""
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm"), path


def _save(path: Path, target: Database, newest_id: int) -> int:
    saved = 0
    _restore_length(path)
    with closing(connect(path)) as source:
        for columns in _readable(source, "rows"):
            target.connection.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", columns)
            if parts := [(columns[0], trace) for trace in _settled(source, columns[0])]:
                target.connection.execute(*insert_parts(parts))
            newest_id = max(newest_id, columns[0])
            saved += 1
        for columns in _readable(source, "aside"):
            target.connection.execute("INSERT OR IGNORE INTO aside VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", columns)
    target.connection.execute("DELETE FROM sqlite_sequence WHERE name = 'rows'")
    target.connection.execute("INSERT INTO sqlite_sequence VALUES ('rows', ?)", (newest_id,))
    return saved


def _restore_length(path: Path) -> None:
    """Give a file that was cut off its recorded length again, with a hole: SQLite refuses all of a shorter one."""
    with path.open("rb") as file:
        header = file.read(_HEADER)
    page, pages = int.from_bytes(header[16:18], "big"), int.from_bytes(header[28:32], "big")
    if header.startswith(_MAGIC) and path.stat().st_size < page * pages:
        with suppress(OSError):  # a length that the file system refuses was none
            os.truncate(path, page * pages)


def _settled(source: sqlite3.Connection, row: int) -> list[bytes]:
    """The traces of a row known to be settled. Where that can't be read they are sent again, which does no harm."""
    try:
        return [trace for (trace,) in source.execute("SELECT trace FROM parts WHERE row = ?", (row,))]
    except sqlite3.DatabaseError as error:
        _raise_unless_unreadable(error)
        return []


def _readable(source: sqlite3.Connection, table: str) -> Iterator[Columns]:
    """All records that can be read, in order. One by one: a cursor that meets a bad page loses the one before it."""

    def first(after: int) -> Columns | None:
        with closing(records(source, table, after, limit=1)) as found:
            return next(found, None)

    def good(after: int) -> bool:
        try:
            first(after)
        except sqlite3.DatabaseError as error:
            _raise_unless_unreadable(error)
            return False
        return True

    after = 0
    while after < _BEYOND_ALL_IDS:
        try:
            columns = first(after)
        except sqlite3.DatabaseError as error:
            _raise_unless_unreadable(error)
            after = _next_good(after, good)
            continue
        if columns is None:
            return
        yield columns
        after = columns[0]


def _raise_unless_unreadable(error: sqlite3.DatabaseError) -> None:
    """Raise an error that is no sign of damage: what can't be read now may be readable a moment later."""
    if not is_damage(error) and error.sqlite_errorcode not in _UNREADABLE:
        raise error


def _next_good(bad: int, good: Callable[[int], bool]) -> int:
    """The end of the bad stretch that begins at `bad`: found by ever longer strides, then by halving the last one."""
    stride = 1
    while bad + stride < _BEYOND_ALL_IDS and not good(bad + stride):
        bad += stride
        stride *= 2
    end = bad + stride
    while end - bad > 1:
        middle = (bad + end) // 2
        bad, end = (bad, middle) if good(middle) else (middle, end)
    return end
