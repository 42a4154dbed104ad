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
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from spanbridge.collector.journal import DEAD_LETTER_LIMITS, DeadLetterLimits, Entry, Row, Settlement
from spanbridge.collector.journal.context import load
from spanbridge.collector.journal.sqlite.schema import SCHEMA, check_schema, connect, transaction
from spanbridge.collector.journal.sqlite.statements import (
    Damaged,
    Record,
    apply_settlements,
    delete_oldest_dead_letters,
    insert_rows,
    records,
)

_PAGE = 4096
"""Bytes. Small rows are the most frequent, and each commit writes some pages whole."""
_WAL = 8 << 20
"""Bytes of the WAL after which a commit checkpoints it, that is moves it into the file. That costs two fsyncs, for
which the puts of that commit wait; a larger WAL would make it rarer and longer, and a start after a crash slower."""
_CHECKED_WHOLE = 64 << 20
"""Bytes of a file up to which all of it is checked at the start: about 0.2 s from a cold disk."""
_ROWS_PER_STATEMENT = 64
"""6 parameters each; SQLite's default limit was 999 before 3.32."""


class Totals(NamedTuple):
    """What the file holds.

    Attributes:
        rows: Rows that are due.
        bytes: Payload and context of due rows and of dead letters.
        dead_letters: How many are kept.
        oldest: When the oldest due row arrived, in unix seconds; None if none is due.
    """

    rows: int = 0
    bytes: int = 0
    dead_letters: int = 0
    oldest: float | None = None


def is_damage(error: Exception) -> bool:
    """Return whether an error says that the file is broken, and not that the disk refuses or somebody holds a lock.

    Taken for damage, a full disk or a slow command of an operator would have a sound file replaced by a copy.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, Damaged) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _settings(*, fsync: bool) -> tuple[str, ...]:
    return (
        f"page_size = {_PAGE}",
        "journal_mode = WAL",
        f"synchronous = {'FULL' if fsync else 'NORMAL'}",
        f"fullfsync = {int(fsync)}",  # macOS: a plain fsync stops at the drive's cache
        f"wal_autocheckpoint = {_WAL // _PAGE}",
        f"journal_size_limit = {8 * _WAL}",
        "secure_delete = OFF",  # secrets are redacted before they come here; wiping would double the writing
    )


class Database:
    """One open journal file; belongs to the thread that makes it.

    Every method may raise sqlite3.Error: one for which `is_damage` is true when the file is broken, any other when the
    disk refuses (full, read-only, failing) or an operator's transaction takes too long. Nothing is half done then.

    Args:
        path: The file; it is made if there is none.
        fsync: Whether a commit waits until the disk has it, so that it survives a loss of power.
        dead_letter_limits: The limits of dead letters.

    Attributes:
        totals: As of the last commit here, and the last look for what others committed.
        dropped: How many dead letters had to go for others in the last call of `apply`.
    """

    def __init__(
        self, path: Path, *, fsync: bool = False, dead_letter_limits: DeadLetterLimits = DEAD_LETTER_LIMITS
    ) -> None:
        """Open the file, or make it.

        Raises:
            ConfigError: It is another program's database, or a newer version's.
            Damaged: It is broken, as far as a start may look.
        """
        if not path.exists():
            path.touch(mode=0o600)
        self.dropped = 0
        self._dead_letter_limits = dead_letter_limits
        self.connection = connect(path)
        try:
            ours = check_schema(self.connection, path)  # before any setting: some are written into the file
            for setting in _settings(fsync=fsync):
                self.connection.execute(f"PRAGMA {setting}")
            if ours:
                self._check(path)
            else:
                self.connection.executescript(SCHEMA)
            self.totals = self.read_totals()
            self._version = self._data_version()
        except BaseException:
            self.connection.close()
            raise

    def _check(self, path: Path) -> None:
        """Look for damage, no longer than a start may take: of a large file only the pages that are read anyway.

        What is missed here is met when it is read, by a checksum or by SQLite, and mended then.

        Raises:
            Damaged: There is some.
        """
        small = path.stat().st_size <= _CHECKED_WHOLE
        if small and self.connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise Damaged("quick_check found damage")
        tables = {name for (name,) in self.connection.execute("SELECT name FROM sqlite_master")}
        if not tables >= {"rows", "parts", "aside", "totals"}:
            raise Damaged("tables are missing")
        self.newest_id()

    def close(self) -> None:
        """Move the WAL into the file and close it."""
        self.connection.close()

    def apply(self, items: Sequence[Record], settlements: Sequence[Settlement] = ()) -> list[int]:
        """Settle, then insert, in one transaction; `totals` and `dropped` follow.

        Returns:
            The ids of the new rows, in the order of `items`.
        """
        self.dropped = 0
        if not settlements and len(items) <= _ROWS_PER_STATEMENT:
            return self._insert_alone(items)
        with transaction(self.connection):
            for statement in apply_settlements(settlements):
                self.connection.execute(*statement)
            chunks = (items[i : i + _ROWS_PER_STATEMENT] for i in range(0, len(items), _ROWS_PER_STATEMENT))
            ids = [id_ for chunk in chunks for id_ in self._insert(chunk)]
            dropped = self._drop_oldest() if any(settlement.dead_letters for settlement in settlements) else 0
            totals = self.read_totals()
        self.totals = totals
        self.dropped = dropped
        return ids

    def _drop_oldest(self) -> int:
        return self.connection.execute(*delete_oldest_dead_letters(self._dead_letter_limits)).rowcount

    def _insert_alone(self, items: Sequence[Record]) -> list[int]:
        """Insert by a single statement, which is a transaction of its own: the shortest way for who waits for it.

        The totals are then added up here instead of being read: what another process wrote meanwhile is missing in
        them until `changed` sees it, as it is for as long anyway.
        """
        ids = list(self._insert(items))
        rows, held, dead_letters, oldest = self.totals
        held += sum(record.size for record in items)
        self.totals = Totals(rows + len(items), held, dead_letters, items[0].time if oldest is None else oldest)
        return ids

    def _insert(self, items: Sequence[Record]) -> range:
        last = self.connection.execute(*insert_rows(items)).lastrowid or 0
        return range(last - len(items) + 1, last + 1)

    def read(self, after: int, limit: int) -> tuple[list[Row], int | None]:
        """Read rows past the id `after`, in order; `totals` follow.

        Returns:
            At least one row if there is any, until `limit` bytes of payload and context are reached; and the newest id
            ever given if these were all, else None.

        Raises:
            Damaged: A row is not as it was written.
        """
        # Before the rows: of one that another process commits in between it may only be said that it is still to come.
        newest: int | None = self.newest_id()
        found: list[tuple[int, Entry]] = []
        with closing(records(self.connection, "rows", after)) as rows:
            for id_, _, _, signal, size, context, payload in rows:
                found.append((id_, Entry(payload, load(context), signal)))
                limit -= size
                if limit <= 0:
                    newest = None
                    break
        settled = self._settled(found[0][0], found[-1][0]) if found else {}
        self.totals = self.read_totals()
        return [Row(id_, entry, frozenset(settled.get(id_, ()))) for id_, entry in found], newest

    def _settled(self, first: int, last: int) -> dict[int, list[bytes]]:
        settled: dict[int, list[bytes]] = {}
        query = "SELECT row, trace FROM parts WHERE row BETWEEN ? AND ?"
        for row, trace in self.connection.execute(query, (first, last)):
            settled.setdefault(row, []).append(trace)
        return settled

    def read_totals(self) -> Totals:
        """Read what the file holds, as its triggers have counted it.

        Raises:
            Damaged: The record of it is missing.
        """
        query = "SELECT rows, bytes, aside, (SELECT time FROM rows ORDER BY id LIMIT 1) FROM totals"
        found = self.connection.execute(query).fetchone()
        if found is None:
            raise Damaged("the totals are missing")
        return Totals(*found)

    def released(self) -> dict[bytes, str]:
        """Read the traces that were released, in that order, and the note on each."""
        return dict(self.connection.execute("SELECT trace, note FROM released ORDER BY seq"))

    def newest_id(self) -> int:
        """Return the highest id ever given to a row, which may be gone; 0 if there was none."""
        (newest,) = self.connection.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'rows'").fetchone()
        return newest or 0

    def changed(self) -> bool:
        """Return whether another process has written since the last call; `totals` follow.

        `PRAGMA data_version` changes by commits of other connections only.
        """
        version = self._data_version()
        if version == self._version:
            return False
        self.totals = self.read_totals()
        self._version = version
        return True

    def _data_version(self) -> int:
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def free_bytes(self) -> int:
        """Return the bytes of the file that can be written without its growing."""
        (pages,) = self.connection.execute("PRAGMA freelist_count").fetchone()
        return int(pages) * _PAGE

    def checkpoint(self) -> None:
        """Move what can be moved out of the WAL into the file, so that it is written from its beginning again."""
        self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
