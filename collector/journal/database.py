"""The journal's file: its schema, and each thing that is done to it, as plain blocking calls on one connection.

What SQLite promises for this (https://www.sqlite.org/pragma.html#pragma_synchronous): in any journal mode and at any
`synchronous` setting a committed transaction is durable across a crash of the application. In WAL mode `NORMAL` also
keeps the file consistent over a loss of power, though the latest commits may roll back then; with `FULL` the WAL is
synced at each commit, and they don't.

Only the bridge's one connection ever checkpoints, in the thread that writes; an operator's does not while the bridge
runs (`wal_autocheckpoint = 0`). So the WAL-reset race of SQLite before 3.51.3
(https://www.sqlite.org/wal.html#walresetbug), a checkpoint on one connection while another commits, has nowhere to
happen.
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import orjson

from collector.errors import ConfigError
from collector.journal import Entry, Row, SetAside, Settlement
from collector.journal.context import dump, load

SCHEMA_VERSION = 1
APPLICATION_ID = 0x73706A6C
TRACE_ID_BYTES = 16

Columns: TypeAlias = tuple[Any, ...]
"""A record of `rows` or `aside`, as SQLite gives it: id, checksum of what follows, ..., context, payload."""

_PAGE = 8192
_WAL = 8 << 20
_CHECKED_WHOLE = 64 << 20  # bytes: quick_check takes about 0.1 s for this much, and the start should not wait longer
_ROWS_PER_STATEMENT = 64
_BUSY_TIMEOUT = 2.0  # s to wait for an operator's transaction

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE rows (
  id INTEGER PRIMARY KEY AUTOINCREMENT, checksum INTEGER NOT NULL, time REAL NOT NULL, signal TEXT NOT NULL,
  bytes INTEGER NOT NULL, context BLOB NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE parts (row INTEGER, trace BLOB, PRIMARY KEY (row, trace)) WITHOUT ROWID;
CREATE TABLE aside (
  id INTEGER PRIMARY KEY AUTOINCREMENT, checksum INTEGER NOT NULL, time REAL NOT NULL, exporter TEXT NOT NULL,
  reason TEXT NOT NULL, digest BLOB NOT NULL UNIQUE, bytes INTEGER NOT NULL, context BLOB NOT NULL,
  payload BLOB NOT NULL
);
CREATE TABLE totals (rows INTEGER NOT NULL, bytes INTEGER NOT NULL, aside INTEGER NOT NULL);
INSERT INTO totals VALUES (0, 0, 0);
CREATE TRIGGER row_in AFTER INSERT ON rows BEGIN
  UPDATE totals SET rows = rows + 1, bytes = bytes + new.bytes;
END;
CREATE TRIGGER row_out AFTER DELETE ON rows BEGIN
  UPDATE totals SET rows = rows - 1, bytes = bytes - old.bytes;
  DELETE FROM parts WHERE row = old.id;
END;
CREATE TRIGGER aside_in AFTER INSERT ON aside BEGIN
  UPDATE totals SET aside = aside + 1, bytes = bytes + new.bytes;
END;
CREATE TRIGGER aside_out AFTER DELETE ON aside BEGIN
  UPDATE totals SET aside = aside - 1, bytes = bytes - old.bytes;
END;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""  # noqa: S608  constants


class Damaged(sqlite3.DatabaseError):
    """What was read is not what was written."""


class Totals(NamedTuple):
    """Rows due, bytes of them and of what is set aside, rows set aside, arrival of the oldest due row (unix s)."""

    rows: int = 0
    bytes: int = 0
    aside: int = 0
    oldest: float | None = None


class Record(NamedTuple):
    """An entry on its way into the file: `time` is when it arrived (unix s), `context` its context as bytes."""

    time: float
    entry: Entry
    context: bytes

    @property
    def size(self) -> int:
        """What the entry takes of the journal's capacity."""
        return len(self.entry.payload) + len(self.context)


def is_damage(error: Exception) -> bool:
    """Whether an error says that the file is broken, and not that the disk refuses."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, Damaged) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def connect(path: Path, *settings: str) -> sqlite3.Connection:
    """A connection to a file that exists, in autocommit mode, with PRAGMAs set."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None)
    connection.text_factory = lambda text: text.decode(errors="replace")
    try:
        for setting in settings:
            connection.execute(f"PRAGMA {setting}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def check_schema(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the journal's tables are there. Raises `ConfigError` when the file is another program's, or newer."""
    application, version = _number(connection, "application_id"), _number(connection, "user_version")
    if application == APPLICATION_ID and version <= SCHEMA_VERSION:
        return True
    if application == APPLICATION_ID:
        newer = f"was written by a newer spanbridge (schema {version}, this one knows {SCHEMA_VERSION})"
        raise ConfigError([f"{path}: this journal {newer}; run that version, or give this one a folder of its own"])
    if _number(connection, "schema_version"):
        raise ConfigError([f"{path}: this is another program's database; give the journal a folder of its own"])
    return False


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    (value,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(value)


def checksum(columns: Iterable[Any]) -> int:
    """CRC-32 of a record's columns. SQLite keeps none of its own and would hand out rotten pages as they are."""
    crc = 0
    for column in columns:
        crc = zlib.crc32(column if isinstance(column, bytes) else str(column).encode(), crc)
    return crc


def sealed(*columns: Any) -> Columns:
    """The columns of a new record, its checksum before them."""
    return checksum(columns), *columns


def records(connection: sqlite3.Connection, table: str, after: int = 0, limit: int = -1) -> Generator[Columns]:
    """The records of `rows` or `aside` past an id, in order. Raises `Damaged` at one that is not as it was written."""
    # Not "id > ?": that would seek the id itself, which may be on a bad page when the next one is not.
    query = f"SELECT * FROM {table} WHERE id >= ? ORDER BY id LIMIT ?"  # noqa: S608  one of two literals
    with closing(connection.execute(query, (after + 1, limit))) as cursor:
        for columns in cursor:
            if columns[0] <= after or columns[1] != checksum(columns[2:]):
                raise Damaged(f"record {columns[0]} of {table} is not as it was written")
            after = columns[0]
            yield columns


def insert_rows(connection: sqlite3.Connection, items: Sequence[Record]) -> range:
    """Insert rows; their ids. One statement for all: each gives up the GIL, and gets it back up to 5 ms later."""
    values = [value for time_, entry, context in items for value in _sealed_row(time_, entry, context)]
    places = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(items))
    insert = f"INSERT INTO rows (checksum, time, signal, bytes, context, payload) VALUES {places}"  # noqa: S608  places
    last = connection.execute(insert, values).lastrowid or 0
    return range(last - len(items) + 1, last + 1)


def _sealed_row(time_: float, entry: Entry, context: bytes) -> Columns:
    size = len(context) + len(entry.payload)
    return sealed(float(time_), entry.signal, size, context, entry.payload)


class Database:
    """One open journal file; belongs to the thread that makes it.

    Every method raises sqlite3.Error: one for which `is_damage` is true when the file is broken, any other when the
    disk refuses (full, read-only, failing) or an operator's transaction takes too long. Nothing is half done then.
    """

    def __init__(self, path: Path, *, fsync: bool = False) -> None:
        """Open the file, or make it. Raises `ConfigError` when it is another program's, or a newer version's."""
        if not path.exists():
            path.touch(mode=0o600)
        self.connection = connect(
            path,
            f"page_size = {_PAGE}",
            "journal_mode = WAL",
            f"synchronous = {'FULL' if fsync else 'NORMAL'}",
            f"fullfsync = {int(fsync)}",  # macOS: a plain fsync stops at the drive's cache
            f"wal_autocheckpoint = {_WAL // _PAGE}",
            f"journal_size_limit = {8 * _WAL}",
            "secure_delete = OFF",  # secrets are redacted before they come here; wiping would double the writing
        )
        try:
            if check_schema(self.connection, path):
                self._check(path)
            else:
                self.connection.executescript(_SCHEMA)
            self._version = _number(self.connection, "data_version")
        except BaseException:
            self.connection.close()
            raise

    def _check(self, path: Path) -> None:
        """Look for damage, no longer than a start may take: a large file is only looked at where it is entered."""
        small = path.stat().st_size <= _CHECKED_WHOLE
        if small and self.connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise Damaged("quick_check found damage")
        self.totals()
        self.newest()

    def close(self) -> None:
        """Fold the WAL into the file and let go of it."""
        self.connection.close()

    def apply(self, items: Sequence[Record], settlements: Sequence[Settlement] = ()) -> tuple[list[int], Totals]:
        """Settle, then insert, in one transaction; the ids of the new rows, in order, and what the file holds then."""
        with transaction(self.connection):
            self._settle(settlements)
            chunks = (items[i : i + _ROWS_PER_STATEMENT] for i in range(0, len(items), _ROWS_PER_STATEMENT))
            ids = [id_ for chunk in chunks for id_ in insert_rows(self.connection, chunk)]
            totals = self.totals()
        return ids, totals

    def _settle(self, settlements: Sequence[Settlement]) -> None:
        if gone := [row for settlement in settlements for row in settlement.rows]:
            delete = "DELETE FROM rows WHERE id IN (SELECT value FROM json_each(?))"
            self.connection.execute(delete, (orjson.dumps(gone).decode(),))
        parts = [pair for settlement in settlements for pair in settlement.parts.items()]
        self.settle_parts([(row, trace) for row, traces in parts for trace in traces])
        for settlement in settlements:
            for item in settlement.aside:
                self._set_aside(item)

    def settle_parts(self, pairs: Sequence[tuple[int, bytes]]) -> None:
        """Note that traces of rows are settled; of rows that are gone there is nothing to note."""
        if not pairs:
            return
        insert = (
            f"INSERT OR IGNORE INTO parts SELECT value, substr(?, {TRACE_ID_BYTES} * key + 1, {TRACE_ID_BYTES})"  # noqa: S608  constants
            " FROM json_each(?) WHERE value IN (SELECT id FROM rows)"
        )
        rows, traces = zip(*pairs, strict=True)
        self.connection.execute(insert, (b"".join(traces), orjson.dumps(rows).decode()))

    def _set_aside(self, item: SetAside) -> None:
        """Keep spans, once: after a crash the same may be set aside again."""
        context = dump(item.context)
        reason = item.reason.encode(errors="replace").decode()
        digest = blake2b(b"\0".join((item.exporter.encode(), item.payload)), digest_size=16).digest()
        size = len(context) + len(item.payload)
        columns = sealed(item.time or time.time(), item.exporter, reason, digest, size, context, item.payload)
        self.connection.execute("INSERT OR IGNORE INTO aside VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", columns)

    def read(self, after: int, limit: int) -> tuple[list[Row], int | None]:
        """Rows past the id `after`, at least one and until `limit` bytes are reached; the newest id, if that is all."""
        newest: int | None = (
            self.newest()
        )  # before the rows: what another process commits between the two must not seem read
        found: list[tuple[int, Entry]] = []
        with closing(records(self.connection, "rows", after)) as rows:
            for id_, _, _, signal, size, context, payload in rows:
                found.append((id_, Entry(payload, load(context), signal)))
                limit -= size
                if limit <= 0:
                    newest = None
                    break
        settled = self._settled(found[0][0], found[-1][0]) if found else {}
        return [Row(id_, entry, frozenset(settled.get(id_, ()))) for id_, entry in found], newest

    def _settled(self, first: int, last: int) -> dict[int, list[bytes]]:
        settled: dict[int, list[bytes]] = {}
        query = "SELECT row, trace FROM parts WHERE row BETWEEN ? AND ?"
        for row, trace in self.connection.execute(query, (first, last)):
            settled.setdefault(row, []).append(trace)
        return settled

    def totals(self) -> Totals:
        """What the file holds; cheap."""
        query = "SELECT rows, bytes, aside, (SELECT time FROM rows ORDER BY id LIMIT 1) FROM totals"
        found = self.connection.execute(query).fetchone()
        if found is None:
            raise Damaged("the totals are missing")
        return Totals(*found)

    def newest(self) -> int:
        """The highest id ever given to a row; 0 when there was none."""
        (newest,) = self.connection.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'rows'").fetchone()
        return newest or 0

    def changed(self) -> bool:
        """Whether another process has written since the last call."""
        version, self._version = self._version, _number(self.connection, "data_version")
        return version != self._version

    def checkpoint(self) -> None:
        """Move what can be moved out of the WAL, so that it may be used from its beginning again."""
        self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
