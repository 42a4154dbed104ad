"""The journal's file through damage: what fails because the file is broken is done again on the one that replaces it.

Whoever writes to the journal need not know of damage: nothing that was asked of it fails for that alone.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from spanbridge.collector.journal import DeadLetterLimits
from spanbridge.collector.journal.sqlite.database import Database, is_damage
from spanbridge.collector.journal.sqlite.salvage import finish_salvage, salvage

T = TypeVar("T")
logger = logging.getLogger(__name__)

_SALVAGE_INTERVAL = 5.0  # s between attempts, as each may copy the whole file before the disk refuses


class RecoveringDatabase:
    """The open `Database` of a path, replaced by what can be saved of it when it is damaged. Belongs to one thread.

    Args:
        path: The journal's file.
        on_corrupt: Called, in this thread, with the place where a damaged file was moved to.
        fsync: As of `Database`.
        dead_letter_limits: As of `Database`.

    Attributes:
        newest_id: The highest row id that anyone was told of. The caller raises it as it tells of rows, and a new file
            goes on from there: the damaged one may be too broken to say, and an id given twice settles the wrong row.
        damaged: Whether the file is known to be broken and could not be replaced yet.
    """

    def __init__(
        self, path: Path, on_corrupt: Callable[[Path], None], *, fsync: bool, dead_letter_limits: DeadLetterLimits
    ) -> None:
        self.newest_id = 0
        self.damaged = False
        self._path = path
        self._on_corrupt = on_corrupt
        self._fsync = fsync
        self._dead_letter_limits = dead_letter_limits
        self._database: Database | None = None
        self._salvage_at = 0.0

    def run(self, work: Callable[[Database], T]) -> T:
        """Do `work` on the database; on damage, once more on its replacement.

        Returns:
            What `work` returned.

        Raises:
            sqlite3.Error, OSError: The disk refuses, for the work or for the replacement; it may be tried again.
            ConfigError: The file is not this journal's.
        """
        try:
            return work(self._opened())
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            logger.warning("journal %s is damaged: %s", self._path, error)
        self.close()  # first: a salvage moves the files, and SQLite would go on writing to moved ones
        self.damaged = True  # until a salvage has worked, which may take several calls on a full disk
        return work(self._opened())

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._database:
            self._database.close()
        self._database = None

    def _opened(self) -> Database:
        if self._database is None:
            if moved := finish_salvage(self._path):
                self._on_corrupt(moved)
            if self.damaged:
                self._salvage()
            self._database = Database(self._path, fsync=self._fsync, dead_letter_limits=self._dead_letter_limits)
            self.newest_id = max(self.newest_id, self._database.newest_id())
        return self._database

    def _salvage(self) -> None:
        if time.monotonic() < self._salvage_at:
            raise sqlite3.OperationalError("the journal is damaged, and there is no room to save it")
        self._salvage_at = time.monotonic() + _SALVAGE_INTERVAL
        moved, saved = salvage(self._path, newest_id=self.newest_id)
        self.damaged = False
        self._salvage_at = 0.0
        logger.warning("journal %s: %d rows were saved; the damaged file is now %s", self._path, saved, moved)
        self._on_corrupt(moved)
