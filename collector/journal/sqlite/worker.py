"""The one thread that owns the journal's file: everything that waits is committed at once, and then reported.

It needs no locks against itself, and what it reports is in the order in which the file saw it.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from spanbridge.collector.errors import ConfigError
from spanbridge.collector.journal import AsideLimits
from spanbridge.collector.journal.sqlite.database import Database, Totals
from spanbridge.collector.journal.sqlite.lock import locked
from spanbridge.collector.journal.sqlite.messages import (
    Changed,
    Close,
    Command,
    Committed,
    Corrupt,
    Event,
    Loaded,
    Put,
    Read,
    Refused,
    Settle,
)
from spanbridge.collector.journal.sqlite.recovery import RecoveringDatabase
from spanbridge.collector.journal.sqlite.statements import Record

logger = logging.getLogger(__name__)

_POLL = 0.5  # s between looks for what another process wrote, and attempts at what the disk refused
_LOG_INTERVAL = 60.0  # s
_RESERVE = 48 << 20  # bytes of the disk: a few times what the WAL may hold before it has to go into the file
_WRITTEN_PER_BYTE = 3  # at most: into the WAL, from there into the file, and around it


class Worker:
    """Runs in a thread of its own, from `run` to a `Close`. `report` is called in that thread, and must be quick."""

    def __init__(self, path: Path, report: Callable[[Event], None], *, fsync: bool, aside: AsideLimits) -> None:
        self.commands: SimpleQueue[Command] = SimpleQueue()
        self.unsettled: list[Settle] = []
        self._path = path
        self._report = report
        self._database = RecoveringDatabase(path, self._replaced, fsync=fsync, aside=aside)
        self.released: dict[bytes, str] = {}
        self._unread: Read | None = None
        self._unreported = True
        self._polled = 0.0
        self._logged = -_LOG_INTERVAL

    def run(self, opened: Callable[[], None]) -> None:
        """Do commands until told to close; calls `opened` when the file is open. What could not be settled stays.

        Raises:
            ConfigError: the journal is held by another process, is not this program's, or can't be opened.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self._path):
                try:
                    self._start()
                    opened()
                    while self._run_once():
                        pass
                finally:
                    self._database.close()
        except (sqlite3.Error, OSError) as error:
            mend = "give it a folder that can be written to, on a local disk with some room"
            raise ConfigError([f"{self._path}: the journal can't be opened ({error}); {mend}"]) from error

    def _start(self) -> None:
        try:
            self._database.run(_totals)
            self.released = self._database.run(Database.released)
        except (sqlite3.Error, OSError) as error:
            if not self._database.damaged:
                raise
            self._after_failure(error)  # senders are told to hold on until there is room to save what can be read
        self._poll()

    def _run_once(self) -> bool:
        commands = self._next_commands()
        self.unsettled = [*self.unsettled, *(command for command in commands if isinstance(command, Settle))]
        self._commit([command for command in commands if isinstance(command, Put)])
        self._unread = next((command for command in commands if isinstance(command, Read)), self._unread)
        self._read()
        self._poll()
        return not any(isinstance(command, Close) for command in commands)

    def _next_commands(self) -> list[Command]:
        try:
            first = self.commands.get(timeout=_POLL)
        except Empty:
            return []
        return [first, *(self.commands.get() for _ in range(self.commands.qsize()))]

    def _commit(self, puts: Sequence[Put]) -> None:
        if not puts and not self.unsettled:
            return
        done = self._try_commit(puts, self.unsettled)
        if not done and puts and self.unsettled:  # what the one needs may be what the other can't have
            self._try_commit((), self.unsettled)
            done = self._try_commit(puts, ())
        if not done and puts:
            self._report(Refused(puts))

    def _try_commit(self, puts: Sequence[Put], settles: Sequence[Settle]) -> bool:
        records, settlements = [put.record for put in puts], [settle.settlement for settle in settles]
        try:
            self._check_room(records)
            ids, totals, dropped = self._database.run(
                lambda database: (database.apply(records, settlements), database.totals, database.dropped)
            )
        except Exception as error:  # noqa: BLE001  whatever it is, the thread must outlive it: every sender waits for it
            self._after_failure(error)
            return False
        self._database.newest_id = max(self._database.newest_id, *ids[-1:], 0)
        self._report(Committed(puts, ids, tuple(settles), totals, dropped))
        if settles:
            self.unsettled = []
        return True

    def _check_room(self, records: Sequence[Record]) -> None:
        """Refuse to let the file grow into the last of the disk: to delete rows takes room too.

        So a journal that filled its disk can still empty itself, and goes on within the file it has.
        """
        written = _WRITTEN_PER_BYTE * sum(record.size for record in records)
        disk = os.statvfs(self._path.parent)
        if not records or disk.f_bavail * disk.f_frsize > _RESERVE + written:
            return
        if self._database.run(Database.free_bytes) < written:
            raise OSError(errno.ENOSPC, f"less than {_RESERVE >> 20} MiB of the disk are free")

    def _read(self) -> None:
        if not self._unread:
            return
        after, limit = self._unread.after, self._unread.limit
        try:
            (rows, end), totals = self._database.run(lambda database: (database.read(after, limit), database.totals))
        except Exception as error:  # noqa: BLE001  as above
            self._after_failure(error)
            return
        self._unread = None
        self._database.newest_id = max(self._database.newest_id, end or 0, *(row.id for row in rows[-1:]))
        self._report(Loaded(rows, end, totals))

    def _poll(self) -> None:
        now = time.monotonic()
        if now < self._polled + _POLL and not self._unreported:
            return
        self._polled = now
        try:
            changed = self._database.run(Database.changed)
            self._unreported = self._unreported or changed  # read after the call, as a salvage within it sets it
            if self._unreported:
                self._report(Changed(self._database.run(_totals)))
                self._unreported = False
        except Exception as error:  # noqa: BLE001  as above
            self._after_failure(error)

    def _replaced(self, moved: Path) -> None:
        self._unreported = True
        self._report(Corrupt(moved))

    def _after_failure(self, error: Exception) -> None:
        now = time.monotonic()
        if now > self._logged + _LOG_INTERVAL:
            self._logged = now
            expected = isinstance(error, (sqlite3.Error, OSError))
            logger.warning("journal %s: %s", self._path, error, exc_info=not expected)
        with suppress(Exception):  # a WAL that is moved into the file has room for the next attempt
            self._database.run(Database.checkpoint)


def _totals(database: Database) -> Totals:
    return database.totals
