"""Which traces of which journal rows are still open: the account behind every settlement.

A row may be deleted once each of its traces is settled. What is settled in part is written down too, so that a
restart takes up just the rest and no trace is ever handed on by halves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from spanbridge.collector.journal import DeadLetter, Journal, Settlement

LINGER = 0.05
"""Seconds that settlements are gathered for: most rows are then settled as a whole, and not trace by trace."""


class OpenRows:
    """Gathers what became settled and commits it to the journal, one transaction at a time.

    `count` is how many rows that were taken and that the journal still has.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._open: dict[int, set[bytes]] = {}
        self._done: list[int] = []
        self._parts: dict[int, list[bytes]] = {}
        self._aside: list[DeadLetter] = []
        self._released: dict[bytes, str] = {}
        self._changed = asyncio.Event()
        self._committing = False
        self.count = 0

    @property
    def idle(self) -> bool:
        """Whether all that was settled is committed."""
        return not self._changed.is_set() and not self._committing

    def add(self, row: int, trace_ids: Iterable[bytes]) -> None:
        """A row was taken from the journal; a row without traces is done at once."""
        self.count += 1
        remaining = set(trace_ids)
        if remaining:
            self._open[row] = remaining
        else:
            self._done.append(row)
            self._changed.set()

    def settle(
        self, trace_id: bytes, rows: Iterable[int], aside: Sequence[DeadLetter] = (), note: str | None = None
    ) -> None:
        """A trace is settled in all these rows, in one transaction with what is set aside of it and the note on it."""
        for row in set(rows):
            remaining = self._open.get(row)
            if remaining is None or trace_id not in remaining:
                continue
            remaining.discard(trace_id)
            self._parts.setdefault(row, []).append(trace_id)
            if not remaining:
                del self._open[row]
                del self._parts[row]
                self._done.append(row)
        self._aside.extend(aside)
        if note is not None:
            self._released[trace_id] = note
        self._changed.set()

    async def run(self) -> None:
        """Commit what is gathered, for ever."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(LINGER)
            self._changed.clear()
            settlement = Settlement(self._done, self._parts, self._aside, self._released)
            self._done, self._parts, self._aside, self._released = [], {}, [], {}
            self._committing = True
            await self._journal.settle(settlement)
            self._committing = False
            self.count -= len(settlement.rows)
