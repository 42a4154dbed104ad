"""The one thread that owns the journal's file: everything that waits is committed at once, and then reported.

**Group commits.** The price of a commit is mostly that of waiting for the file, whatever is in it. So a turn takes all
commands that have come while the last one was under way, into one transaction. Under load the groups grow by
themselves; a single put waits for nobody.

**One thread.** Only it touches the file: SQLite has one writer at a time anyway, and with one there are no locks to
wait for and no order to find out afterwards. It answers by events, in the order of its commits. It must outlive
whatever it meets, for each sender waits for it: what goes wrong is logged, and refused or tried again at the next turn.

**A disk that refuses.** Puts are refused, so that senders hold on to what they have. Settlements stay in `unsettled`
and are tried at each turn, for ever: what they tell of is done, and forgetting it would send all of it again. For what
is kept free for them see `_check_room`.
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
from spanbridge.collector.journal import DeadLetterLimits
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

_POLL = 0.5
"""Seconds between looks for what another process wrote, and between attempts at what the disk refused."""
_LOG_INTERVAL = 60.0
"""Seconds between log lines about what goes wrong."""
_RESERVE = 48 << 20
"""Bytes of the disk that are left to settlements: a few times what the WAL holds before it is moved into the file."""
_WRITTEN_PER_BYTE = 3
"""Of a row, at most: into the WAL, from there into the file, and pages around it."""


class Worker:
    """What runs in the journal's thread, from `run` to a `Close`.

    Args:
        path: The journal's file.
        report: Called in the thread with each event; must be quick and must not raise.
        fsync: As of `Database`.
        dead_letter_limits: As of `Database`.

    Attributes:
        commands: Where the event loop puts what it wants done.
        unsettled: Settlements that are not committed yet, in order. Read by others only when `run` has returned.
        released: The traces released before this start. Filled before `opened` is called, and not changed after.
    """

    def __init__(
        self, path: Path, report: Callable[[Event], None], *, fsync: bool, dead_letter_limits: DeadLetterLimits
    ) -> None:
        self.commands: SimpleQueue[Command] = SimpleQueue()
        self.unsettled: list[Settle] = []
        self._path = path
        self._report = report
        self._database = RecoveringDatabase(path, self._replaced, fsync=fsync, dead_letter_limits=dead_letter_limits)
        self.released: dict[bytes, str] = {}
        self._unread: Read | None = None
        self._unreported = True
        self._polled = 0.0
        self._logged = -_LOG_INTERVAL

    def run(self, opened: Callable[[], None]) -> None:
        """Do commands until told to close; what could not be settled by then stays in `unsettled`.

        Args:
            opened: Called when the file is open.

        Raises:
            ConfigError: The journal is held by another process, is not this program's, or can't be opened.
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
            # A full disk: senders are told to hold on until there is room to save what can be read.
            self._after_failure(error)
        self._poll()

    def _run_once(self) -> bool:
        """Do what waits, or after `_POLL` look around; return whether to go on."""
        commands = self._next_commands()
        self.unsettled = [*self.unsettled, *(command for command in commands if isinstance(command, Settle))]
        self._commit([command for command in commands if isinstance(command, Put)])
        # At most one is asked for at a time; kept until it is answered, as the loop asks for no other before that.
        self._unread = next((command for command in commands if isinstance(command, Read)), self._unread)
        self._read()
        self._poll()
        return not any(isinstance(command, Close) for command in commands)

    def _next_commands(self) -> list[Command]:
        try:
            first = self.commands.get(timeout=_POLL)
        except Empty:
            return []
        # As many as there are now, not until it is empty: senders that come meanwhile could keep it from ever being so.
        return [first, *(self.commands.get() for _ in range(self.commands.qsize()))]

    def _commit(self, puts: Sequence[Put]) -> None:
        """Commit puts and all that is unsettled together, or else what of it the disk takes.

        Together, one that can't be done would fail the other. A settlement needs little room and makes some, so it goes
        first, and the puts may then have the room that it has made.
        """
        if not puts and not self.unsettled:
            return
        done = self._try_commit(puts, self.unsettled)
        if not done and puts and self.unsettled:
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
        except Exception as error:  # noqa: BLE001  whatever it is, the thread must outlive it
            self._after_failure(error)
            return False
        self._database.newest_id = max(self._database.newest_id, *ids[-1:], 0)
        self._report(Committed(puts, ids, tuple(settles), totals, dropped))
        if settles:
            self.unsettled = []
        return True

    def _check_room(self, records: Sequence[Record]) -> None:
        """Refuse to let the file grow into the last of the disk: to delete rows takes room too, in the WAL.

        So a journal that filled its disk can still empty itself, and goes on within the file that it has: pages of
        deleted rows are written again. Without the reserve, the settlement that would make room fails for want of it,
        and the bridge is stuck until somebody makes room on the disk.

        Raises:
            OSError: ENOSPC, before the disk says it.
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
        """Tell of what no other event tells of: an operator's retry, a file that was replaced."""
        now = time.monotonic()
        if now < self._polled + _POLL and not self._unreported:
            return
        self._polled = now
        try:
            changed = self._database.run(Database.changed)
            # A salvage within the call sets _unreported by `_replaced`; a report that fails is made at the next turn.
            self._unreported = self._unreported or changed  # not |=, which reads the left side before
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
        # SQLite checkpoints after a commit only. When the disk or a limit lets the WAL grow no further, no commit works
        # any more, and none would ever move it into the file: so it is done here. The next commit begins at its start.
        with suppress(Exception):
            self._database.run(Database.checkpoint)


def _totals(database: Database) -> Totals:
    return database.totals
