"""The journal's file as SQLite sees it: its tables, and how a connection to it is opened.

- `rows`: what is due. AUTOINCREMENT, so that an id is not given again when the newest row was deleted: without it
  SQLite takes the largest id that is there plus one, and a late settlement would delete another row.
- `parts`: the settled traces of rows that stay.
- `released`: traces that were handed on; `seq` is their order.
- `aside`: the dead letters.
- `totals`: one record, kept by triggers, so that it is right whoever writes, an operator's command too. To count a
  large journal at each start would take too long.

The checksum of a record in `rows` and `aside` is that of the columns after it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spanbridge.collector.errors import ConfigError

SCHEMA_VERSION = 1
APPLICATION_ID = 0x73706A6C

_BUSY_TIMEOUT = 2.0  # s to wait for an operator's transaction

SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE rows (
  id INTEGER PRIMARY KEY AUTOINCREMENT, checksum INTEGER NOT NULL, time REAL NOT NULL, signal TEXT NOT NULL,
  bytes INTEGER NOT NULL, context BLOB NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE parts (row INTEGER, trace BLOB, PRIMARY KEY (row, trace)) WITHOUT ROWID;
CREATE TABLE released (seq INTEGER PRIMARY KEY AUTOINCREMENT, trace BLOB NOT NULL UNIQUE, note TEXT NOT NULL);
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


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection to a file that exists, in autocommit mode.

    Text that is no UTF-8, as only damage makes it, is read with replacement characters: its checksum tells, and an
    exception of the codec would not be known as damage.

    Raises:
        sqlite3.OperationalError: There is no such file, or it can't be opened.
    """
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None)
    connection.text_factory = lambda text: text.decode(errors="replace")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done within as one transaction, or nothing of it when it raises.

    IMMEDIATE takes the write lock at once: a transaction that reads first and writes later may be told then that
    somebody else has written, and can't wait for that to be over.

    Raises:
        sqlite3.OperationalError: Another process holds the write lock for too long, or the disk refuses.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def check_schema(connection: sqlite3.Connection, path: Path) -> bool:
    """Return whether the journal's tables are there; an empty file is a new database.

    Raises:
        ConfigError: The file is another program's database, or of a newer version of this one.
        sqlite3.DatabaseError: It is no database.
    """
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
