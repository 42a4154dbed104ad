"""What passes between the event loop and the worker: jobs to the one, events in the order of commits to the other."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from spanbridge.collector.journal import Row, Settlement
from spanbridge.collector.journal.sqlite.database import Totals
from spanbridge.collector.journal.sqlite.statements import Record


@dataclass(frozen=True, slots=True, eq=False)
class Put:
    """Commit an entry."""

    record: Record
    done: Future[None]


@dataclass(frozen=True, slots=True, eq=False)
class Settle:
    """Commit a settlement, however long the disk refuses."""

    settlement: Settlement
    done: Future[None]


@dataclass(frozen=True, slots=True)
class Read:
    """Read rows past an id, until `limit` bytes are reached."""

    after: int
    limit: int


@dataclass(frozen=True, slots=True)
class Close:
    """Do what came before this, then end."""


Command: TypeAlias = Put | Settle | Read | Close


@dataclass(frozen=True, slots=True)
class Committed:
    """Rows are in the file under `ids`, and settlements are applied; `totals` are as of then.

    `dropped` rows of what was set aside before had to go.
    """

    puts: Sequence[Put]
    ids: Sequence[int]
    settles: Sequence[Settle]
    totals: Totals
    dropped: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The disk did not take these."""

    puts: Sequence[Put]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rows that were read; `end` is the newest id in the file if there are no more."""

    rows: Sequence[Row]
    end: int | None
    totals: Totals


@dataclass(frozen=True, slots=True)
class Changed:
    """The file holds what no other event told of: at the start, when another process wrote, when it was replaced."""

    totals: Totals


@dataclass(frozen=True, slots=True)
class Corrupt:
    """The file was damaged; it is at `moved` now, and what could be read of it is in its place."""

    moved: Path


Event: TypeAlias = Committed | Refused | Loaded | Changed | Corrupt
