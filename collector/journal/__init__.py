"""The contract of a journal, the durable queue between receivers and delivery. What is committed here was acknowledged.

There are several implementations (`sqlite`, `memory`); `tests/contract/test_journal.py` checks each against what this
module says. Whoever writes another one starts here.

**A row** is one accepted batch with its context. It is *due* from its commit until it is settled as a whole. `take`
hands it out, which changes nothing that is stored: only `settle` deletes, so that a crash between the two costs a
second delivery and never a span. (Destinations take a span twice without harm: they know it by its trace and span id.)

**Durability.** A `put` or `settle` that has returned survives the end of the process, however it comes; whether also a
loss of power is a setting of the implementation. One that was refused has left nothing behind. One that was cut off by
a crash or a cancellation was done as a whole or not at all, and nobody was told which.

**After a restart** every row that was not settled is due again, with the id it had, and names in `settled` those of its
traces that were; dead letters are still there; `released` tells what earlier lives released. A journal that is damaged
goes on with what can be read of it, and says where the damaged one went. It may then have forgotten settled traces of a
row and released traces, which are sent or decided once more. It never makes up a row, and never gives an id again that
this life of the process has seen.

**Order.** Ids grow with the order of commits and are never given twice, also not over restarts: a late settlement of a
row that is gone must not meet another row. `take` goes by ids. A `put` that begins after another has returned gets the
larger id; puts that are under way at once come in any order. Ids need not follow each other: an operator's `retry` of
dead letters, from another process, makes rows in between.

**Concurrency.** All methods are called from one event loop, any number of them at once, and none blocks it. A `take`
that is cancelled has taken nothing. Two processes never have the same journal open.

**Room.** The capacity counts bytes of payload and context of what is due, of puts under way and of dead letters. It
bounds puts alone: a settlement that would not fit must still be taken, or a full journal could never empty itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal, Protocol, TypeAlias

from spanbridge.processors.types import Context

Signal: TypeAlias = Literal["traces", "logs"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch on its way in.

    Attributes:
        payload: The serialized OTLP request, an ExportTraceServiceRequest or ExportLogsServiceRequest. The journal
            never looks into it.
        context: Who sent it and where it should go; stored and given back with it.
        signal: Which of the two requests `payload` is.
        sound: Whether this process has serialized the request, so that nobody need try whether it can be read. It is
            not stored: an entry that comes back from a file has False.
    """

    payload: bytes
    context: Context
    signal: Signal = "traces"
    sound: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Row:
    """A committed batch that is due.

    Attributes:
        id: Above 0; grows with the order of commits and is never given to another row.
        entry: What was put.
        settled: Trace ids (16 bytes each) that an earlier life of the process settled: to be skipped.
    """

    id: int
    entry: Entry
    settled: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Spans that a destination would not take, kept for an operator.

    Two with equal `exporter` and `payload` are one: after a crash the same spans may be refused again.

    Attributes:
        payload: A serialized OTLP request of just these spans.
        context: The context they came with.
        exporter: The component id of the exporter that gave up.
        reason: What the destination said, for people.
        id: Given by the journal.
        time: When it was given up, in unix seconds; 0 for now.
    """

    payload: bytes
    context: Context
    exporter: str
    reason: str
    id: int = 0
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class DeadLetterLimits:
    """How many dead letters are kept: beyond either bound the oldest go, but never the latest.

    Without a bound, a destination that refuses everything would fill the journal with what nobody will deliver, and
    shut out what could be.

    Attributes:
        bytes: Of payload and context.
        rows: How many.
    """

    bytes: int = 256 << 20
    rows: int = 10_000


DEAD_LETTER_LIMITS = DeadLetterLimits()
"""The limits unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of rows that were taken. It is applied as a whole or not at all.

    That they are one transaction is what keeps spans from being lost or doubled: a row must not be deleted before the
    dead letters made from it are kept, nor its trace be known as released when the row is still to be sent.

    Attributes:
        rows: Ids of rows that are done with; they are deleted.
        parts: For rows that stay, by id, the trace ids (16 bytes each) of them that are settled. They add to what was
            settled before. A row whose traces are all named here stays due: whoever settles the last names the row.
        dead_letters: To be kept until an operator retries or drops them, within the journal's `DeadLetterLimits`.
        released: The traces that were handed on and a note on each (16-byte trace id to text, such as the sampling
            decision), so that a late span is known as one after a restart too. A trace that is released again counts
            as the latest, with the new note.
    """

    rows: Sequence[int] = ()
    parts: Mapping[int, Sequence[bytes]] = field(default_factory=dict)
    dead_letters: Sequence[DeadLetter] = ()
    released: Mapping[bytes, str] = field(default_factory=dict)


REMEMBERED = 100_000
"""How many released traces are remembered at least, the latest."""


@dataclass(frozen=True, slots=True)
class JournalState:
    """A reading for /metrics.

    Attributes:
        bytes: Of payload and context, due and dead letters; may be above `capacity`, as settling is never refused.
        capacity: The bound of `bytes`, above which puts are refused.
        rows: How many are due, taken or not.
        oldest_age: Seconds since the oldest due row was put, also over restarts; 0 when none is due.
        dead_letters: How many dead letters are kept.
    """

    bytes: int
    capacity: int
    rows: int
    oldest_age: float
    dead_letters: int


TRACE_ID_BYTES = 16


def check_trace_ids(settlement: Settlement) -> None:
    """Check the length of a settlement's trace ids, which may be stored back to back: one would shift all that follow.

    Raises:
        ValueError: One is not 16 bytes long.
    """
    ids = chain(settlement.released, *settlement.parts.values())
    if any(len(trace) != TRACE_ID_BYTES for trace in ids):
        raise ValueError("a trace id has 16 bytes")


class Journal(Protocol):
    """A durable queue of batches; see the module for what all methods keep to.

    An implementation is also an async context manager. Entering opens it, or raises `ConfigError`; leaving waits until
    each put and settlement under way has returned or failed, after which no method but `state` is called.
    """

    async def put(self, entry: Entry) -> None:
        """Commit an entry as a new row, which is due at once.

        Puts that wait at the same time should share a commit: to wait for the disk is most of what a put costs.

        Raises:
            Busy: It does not fit now, or the disk refuses, or the journal is closing; nothing was stored.
            TooLarge: It would not even fit into an empty journal, so sending it again can't help.
        """

    async def take(self) -> Row:
        """Return the next due row in the order of ids; wait for one if there is none.

        Each row is returned once in the life of the process, to one of the callers. It stays due until it is settled.
        How many rows are taken and not yet settled is the caller's to bound.
        """

    async def settle(self, settlement: Settlement) -> None:
        """Commit a settlement, however long the disk refuses it; the room of its rows is free on return.

        It may name rows and parts of rows that are gone, which does nothing: after a crash, or when an answer was
        lost, the same is settled twice. Rows that were not taken in this life of the process are not to be named.

        Raises:
            ValueError: A trace id is not 16 bytes long.
            SpanbridgeError: The journal was closed before it could be committed; its rows are due again at the next
                start.
        """

    def released(self) -> Mapping[bytes, str]:
        """Return the traces that were released before this start and their notes, in the order of their release.

        At least the latest `REMEMBERED` of them. What this process has released is not among them.
        """

    def state(self) -> JournalState:
        """Return the current reading, at the latest as of the last commit; cheap enough for each request."""
