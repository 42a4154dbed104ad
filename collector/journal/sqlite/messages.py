"""What passes between the event loop and the worker thread: commands to the thread, events back to the loop.

Nothing else is shared between them, so neither needs a lock. Events come in the order in which the file saw what they
tell of; the bookkeeping of the loop (`journal`) is right only because of that.
"""

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
    """A command to commit an entry, once; `done` is the loop's, which the thread never touches."""

    record: Record
    done: Future[None]


@dataclass(frozen=True, slots=True, eq=False)
class Settle:
    """A command to commit a settlement, again and again as long as the disk refuses."""

    settlement: Settlement
    done: Future[None]


@dataclass(frozen=True, slots=True)
class Read:
    """A command to read rows past the id `after`, until `limit` bytes are reached; answered by one `Loaded`."""

    after: int
    limit: int


@dataclass(frozen=True, slots=True)
class Close:
    """A command to do what came before it, then end."""


Command: TypeAlias = Put | Settle | Read | Close


@dataclass(frozen=True, slots=True)
class Committed:
    """One transaction: rows are in the file and settlements are applied.

    Attributes:
        puts: What was put.
        ids: The ids of their rows, in the same order.
        settles: The settlements that were applied, before the puts.
        totals: What the file held after it. They travel with the event, for the loop may hear of it when more has
            been committed already: a reading taken then would count what the loop has not seen yet.
        dropped: How many older dead letters had to go.
    """

    puts: Sequence[Put]
    ids: Sequence[int]
    settles: Sequence[Settle]
    totals: Totals
    dropped: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The disk did not take these; nothing of them is in the file."""

    puts: Sequence[Put]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rows that were read; `end` is the newest id ever given in the file, or None if there are more rows."""

    rows: Sequence[Row]
    end: int | None
    totals: Totals


@dataclass(frozen=True, slots=True)
class Changed:
    """The file holds what no other event tells of: at the start, when another process wrote, when it was replaced."""

    totals: Totals


@dataclass(frozen=True, slots=True)
class Corrupt:
    """The file was damaged; it was moved to `moved`, and what could be read of it is in its place."""

    moved: Path


Event: TypeAlias = Committed | Refused | Loaded | Changed | Corrupt
