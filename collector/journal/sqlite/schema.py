"""The journal's file as SQLite sees it: its tables, and how a connection to it is opened.

`totals` is kept by triggers, whoever writes: counting a large journal anew at each start would take too long. `parts`
holds the settled traces of rows that stay. Columns of `rows` and `aside` after the checksum are what it is the sum of.
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
    """A connection to a file that exists, in autocommit mode."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None)
    connection.text_factory = lambda text: text.decode(errors="replace")
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
