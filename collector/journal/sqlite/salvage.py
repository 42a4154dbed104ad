"""The salvage of a damaged journal file: the rows that can be read are saved, and the file is moved out of the way.

The rows are written to `<name>.salvaging`, which becomes `<name>.salvaged` when it is complete; then the damaged file
is moved to `<name>.corrupt-<utc>` and the saved one takes its place. The names alone tell the steps apart, since a
rename is what a file system does as a whole. After a crash:

- with `.salvaging` there, the damaged file is still in its place and the salvage starts over;
- with `.salvaged` there, it is complete, whatever has been moved by then, and `finish_salvage` does the rest. It must
  come before anything else: with the damaged file moved and nothing in its place, a start would make an empty journal.

Saved are due rows, their settled traces, and dead letters. What was released is not: the table has no checksum, and a
rotten note would be believed. Its traces are decided anew if a late span of them comes after the next restart.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from spanbridge.collector.journal.sqlite.database import Database, is_damage
from spanbridge.collector.journal.sqlite.schema import connect, transaction
from spanbridge.collector.journal.sqlite.statements import Columns, insert_parts, records

_HEADER = 100
_MAGIC = b"SQLite format 3\0"
_BEYOND_ALL_IDS = 1 << 62
_SINGLE_STEPS = 1000  # some 50 ms
_UNREADABLE = (  # besides what is damage anywhere: a table that is missing, a bad sector
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
)


def salvage(path: Path, *, newest_id: int = 0) -> tuple[Path, int]:
    """Put a sound file in the place of a damaged one that nobody has open.

    Rows keep their ids, and new ones get ids past `newest_id`: rows of this life that could not be saved may be under
    way, and their settlement must not meet another row.

    Args:
        path: The journal's file.
        newest_id: The highest row id that anyone was told of.

    Returns:
        Where the damaged file went, and how many rows were saved.

    Raises:
        OSError, sqlite3.Error: The disk has no room for it, or what is there can't be read at the moment; then
            nothing has changed.
    """
    fresh = path.with_name(path.name + ".salvaging")
    for leftover in _files(fresh):
        leftover.unlink(missing_ok=True)
    with closing(Database(fresh)) as target:
        target.connection.execute("PRAGMA journal_mode = OFF")  # not safe in a crash, which has it made anew
        with transaction(target.connection):
            saved = _save(path, target, newest_id)
    fresh.rename(_salvaged(path))
    return _replace(path), saved


def finish_salvage(path: Path) -> Path | None:
    """Let a salvaged file take its place, if a crash kept it from that.

    Returns:
        Where the damaged file went; None if there was nothing to finish.

    Raises:
        OSError: The files can't be renamed.
    """
    return _replace(path) if _salvaged(path).exists() else None


def _replace(path: Path) -> Path:
    # The WAL goes with its database: left here, SQLite would play it into the file that takes the place.
    moved = path.with_name(f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    for source, target in zip(_files(path), _files(moved), strict=True):
        with suppress(FileNotFoundError):
            source.rename(target)
    _salvaged(path).rename(path)
    return moved


def _salvaged(path: Path) -> Path:
    return path.with_name(path.name + ".salvaged")


def _files(path: Path) -> tuple[Path, Path, Path]:
    """Return a database's files, itself last: a crash in between must not leave a WAL without its database."""
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
    # SQLite keeps the newest id of an AUTOINCREMENT table here, as of the last insert: that of the last row *saved*.
    target.connection.execute("DELETE FROM sqlite_sequence WHERE name = 'rows'")
    target.connection.execute("INSERT INTO sqlite_sequence VALUES ('rows', ?)", (newest_id,))
    return saved


def _restore_length(path: Path) -> None:
    """Give a file that was cut off its recorded length again, with a hole: SQLite refuses all of a shorter one.

    The page size (offset 16) and the number of pages (offset 28) are in the header,
    https://www.sqlite.org/fileformat.html 1.3.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER)
    page, pages = int.from_bytes(header[16:18], "big"), int.from_bytes(header[28:32], "big")
    if header.startswith(_MAGIC) and path.stat().st_size < page * pages:
        with suppress(OSError):  # a length that the file system refuses was none
            os.truncate(path, page * pages)


def _settled(source: sqlite3.Connection, row: int) -> list[bytes]:
    """Return the traces of a row that are known to be settled. Where damage hides them they are sent once more."""
    try:
        return [trace for (trace,) in source.execute("SELECT trace FROM parts WHERE row = ?", (row,))]
    except sqlite3.DatabaseError as error:
        _raise_unless_unreadable(error)
        return []


def _readable(source: sqlite3.Connection, table: str) -> Iterator[Columns]:
    """Yield all records that can be read, in order.

    One by one: a cursor that meets a bad page also loses the record it had read before it.
    """
    after = 0
    while after < _BEYOND_ALL_IDS:
        try:
            columns = _first(source, table, after)
        except sqlite3.DatabaseError as error:
            _raise_unless_unreadable(error)
            after = _next_good(after, partial(_is_good, source, table))
            continue
        if columns is None:
            return
        yield columns
        after = columns[0]


def _first(source: sqlite3.Connection, table: str, after: int) -> Columns | None:
    with closing(records(source, table, after, limit=1)) as found:
        return next(found, None)


def _is_good(source: sqlite3.Connection, table: str, after: int) -> bool:
    """Return whether the record that follows an id can be read, or that there is none."""
    try:
        _first(source, table, after)
    except sqlite3.DatabaseError as error:
        _raise_unless_unreadable(error)
        return False
    return True


def _raise_unless_unreadable(error: sqlite3.DatabaseError) -> None:
    """Raise an error that is no sign of damage: what can't be read now may be readable a moment later.

    Passed over, a file that an operator's command keeps locked for a moment would count as having no rows.
    """
    if not is_damage(error) and error.sqlite_errorcode not in _UNREADABLE:
        raise error


def _next_good(bad: int, good: Callable[[int], bool]) -> int:
    """Return the end of the bad stretch that begins at `bad`: by single steps, then by ever longer strides.

    Ids are sparse and a stretch may be millions long, so to go on with single steps could take hours. When a stride has
    met a good record, the end is found by halving it. A good record between two bad ones may be jumped over by a
    stride, which is why the first steps are single: damage is mostly a few pages.
    """
    for step in range(bad + 1, bad + 1 + _SINGLE_STEPS):
        if good(step):
            return step
    bad += _SINGLE_STEPS
    stride = 1
    while bad + stride < _BEYOND_ALL_IDS and not good(bad + stride):
        bad += stride
        stride *= 2
    end = bad + stride
    while end - bad > 1:
        middle = (bad + end) // 2
        bad, end = (bad, middle) if good(middle) else (middle, end)
    return end
