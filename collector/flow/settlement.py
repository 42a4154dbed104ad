"""Settlement: when a row of the journal may go.

A row holds fragments of many traces, and a trace has fragments in many rows. A row may be deleted once each trace in it
is settled: every destination has all its spans, or has refused them for good, or a rule that is counted has dropped
them. So there are two accounts, each the key to the other: `SettlementAccount` knows of one trace which rows wait for
it and which parts of it are still under way, `OpenRows` knows of each row which traces it still waits for.

To settle too early loses spans in a crash; to settle never fills the journal, and shuts every sender out. What is
settled in part is written down too, so that a restart takes up just the rest and no trace is ever handed on by halves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from spanbridge.collector.journal import DeadLetter, Journal, Settlement

LINGER = 0.05
"""Seconds that settlements are gathered for: most rows are then settled as a whole, and not trace by trace."""


@dataclass(slots=True)
class SettlementAccount:
    """What has to happen until one trace is settled.

    It is opened with the trace's first fragment and outlives the pending trace. What comes for the same id after the
    trace was handed on has an account of its own.

    `rows` are the ids of the journal rows that hold fragments of the trace, `size` the bytes that it holds in memory
    from when it is handed on. `open_parts` counts the parts of it that deliveries still have, and `dead_letters` are
    those that a destination refused for good.
    """

    trace_id: bytes
    rows: list[int] = field(default_factory=list)
    size: int = 0
    open_parts: int = 0
    dead_letters: Sequence[DeadLetter] = ()

    def add_row(self, row: int) -> None:
        """Note a journal row that holds a fragment of the trace, even one that is not taken into it."""
        self.rows.append(row)

    def hand_on(self, size: int, parts: int) -> None:
        """Note that the trace goes to `parts` deliveries and holds `size` bytes.

        All parts are counted before the first is offered: a fast delivery would else settle the trace, and with it the
        rows, before the next one has it.
        """
        self.size, self.open_parts = size, parts

    def divide(self) -> None:
        """Note that one part has become two."""
        self.open_parts += 1

    def settle_part(self, dead_letter: DeadLetter | None = None) -> bool:
        """Note that a delivery is done with a part, and with what it refused of it.

        Returns:
            Whether that was the last part: the trace is settled.
        """
        if dead_letter is not None:
            self.dead_letters = [*self.dead_letters, dead_letter]
        self.open_parts -= 1
        return self.open_parts == 0


class OpenRows:
    """The rows that were taken from the journal, and which of their traces are not settled yet.

    It gathers what became settled and commits it to the journal, one transaction at a time. `count` is how many rows
    were taken and are still in the journal; it goes down with the commit, not before.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._open: dict[int, set[bytes]] = {}
        self._done: list[int] = []
        self._parts: dict[int, list[bytes]] = {}
        self._dead_letters: list[DeadLetter] = []
        self._released: dict[bytes, str] = {}
        self._changed = asyncio.Event()
        self._committing = False
        self.count = 0

    @property
    def idle(self) -> bool:
        """Whether all that was settled is committed."""
        return not self._changed.is_set() and not self._committing

    def add(self, row: int, trace_ids: Iterable[bytes]) -> None:
        """Open a row that was taken from the journal; one without traces is done at once."""
        self.count += 1
        remaining = set(trace_ids)
        if remaining:
            self._open[row] = remaining
        else:
            self._finish(row)

    def refuse(self, row: int, dead_letter: DeadLetter) -> None:
        """Be done with a row that can't be read, and keep what it holds for an operator."""
        self.count += 1
        self._dead_letters.append(dead_letter)
        self._finish(row)

    def settle(self, account: SettlementAccount, note: str | None = None) -> None:
        """Settle a trace in each of its rows, in one transaction with its dead letters and the note on it.

        In one transaction: dead letters without the settlement would be there twice after a crash, a settlement without
        them would lose spans, and without the note a late span would be taken for a trace of its own.

        Args:
            account: The trace's; none of its parts is under way.
            note: What to keep of a trace that was released, None of one that was not.
        """
        for row in set(account.rows):
            self._settle_in(row, account.trace_id)
        self._dead_letters.extend(account.dead_letters)
        if note is not None:
            self._released[account.trace_id] = note
        self._changed.set()

    async def run(self) -> None:
        """Commit what is gathered, for ever."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(LINGER)
            self._changed.clear()
            settlement = Settlement(self._done, self._parts, self._dead_letters, self._released)
            self._done, self._parts, self._dead_letters, self._released = [], {}, [], {}
            self._committing = True
            await self._journal.settle(settlement)
            self._committing = False
            self.count -= len(settlement.rows)

    def _settle_in(self, row: int, trace_id: bytes) -> None:
        """Strike a trace off a row: as a part of it for now, and the whole row with its last trace."""
        remaining = self._open.get(row)
        if remaining is None or trace_id not in remaining:
            return
        remaining.discard(trace_id)
        self._parts.setdefault(row, []).append(trace_id)
        if not remaining:
            del self._open[row]
            del self._parts[row]
            self._finish(row)

    def _finish(self, row: int) -> None:
        self._done.append(row)
        self._changed.set()
