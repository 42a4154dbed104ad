"""The journal's contract: what is committed here is what a sender was told OK for.

A row is one accepted batch. It is due from the moment it is committed until each of its traces is settled; after a
restart every row that is left is due again, less the traces of it that were settled before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from spanbridge.processors.types import Context

Signal: TypeAlias = Literal["traces", "logs"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch on its way in: the serialized OTLP request and the context it came with.

    `sound` says that this process has serialized the request, so that nobody need try whether it can be read; of what
    comes back from a file nobody knows.
    """

    payload: bytes
    context: Context
    signal: Signal = "traces"
    sound: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Row:
    """A committed batch that is due. `id` grows with the order of commits; `settled` names trace ids to skip."""

    id: int
    entry: Entry
    settled: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Spans a destination would not take: `payload` is a serialized OTLP request of just these spans."""

    payload: bytes
    context: Context
    exporter: str
    reason: str
    id: int = 0
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class DeadLetterLimits:
    """How much may be set aside, `bytes` and `rows` of it; beyond either the oldest goes, but never the latest."""

    bytes: int = 256 << 20
    rows: int = 10_000


DEAD_LETTER_LIMITS = DeadLetterLimits()
"""Unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of rows, applied in one transaction.

    `rows` are done with and deleted. `parts` names, for rows that stay, the trace ids of them that are settled.
    `dead_letters` are kept until an operator retries or drops them, within the journal's `DeadLetterLimits`.
    `released` are the traces that were handed on and a note on each (16-byte trace id to text, such as the sampling
    decision), so that a late span is known as one after a restart too.
    """

    rows: Sequence[int] = ()
    parts: Mapping[int, Sequence[bytes]] = field(default_factory=dict)
    dead_letters: Sequence[DeadLetter] = ()
    released: Mapping[bytes, str] = field(default_factory=dict)


REMEMBERED = 100_000
"""How many released traces are remembered, the latest."""


@dataclass(frozen=True, slots=True)
class JournalState:
    """A reading for /metrics: bytes held and allowed, rows due, age in s of the oldest due row, rows set aside."""

    bytes: int
    capacity: int
    rows: int
    oldest_age: float
    dead_letters: int


class Journal(Protocol):
    """An async context manager; every method is called from one event loop."""

    async def put(self, entry: Entry) -> None:
        """Return once the entry is committed.

        Raises:
            Busy: it does not fit now, or the disk refuses.
            TooLarge: it would not even fit into an empty journal.
        """

    async def take(self) -> Row:
        """The next due row in the order of commits, each once in the life of the process; waits for one."""

    async def settle(self, settlement: Settlement) -> None:
        """Return once the settlement is committed. A settlement of rows already gone is no error."""

    def released(self) -> Mapping[bytes, str]:
        """The traces that were released before this start and their notes, in the order of their release."""

    def state(self) -> JournalState:
        """The current reading; cheap."""
