"""The way from a commit to `take`: rows in the order of ids, each once, from memory or else from the file.

Pure bookkeeping; whoever owns it reads the file when it is told to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from spanbridge.collector.journal import Row


class ReadyQueue:
    """Rows ready to be taken, at most about `limit` bytes of payload.

    All rows up to `last` have come through here. While `behind` is false, there are no others: a row just committed
    may be offered. Otherwise the file holds more, and only `refill` from it goes on, so that no row overtakes another.
    """

    def __init__(self, limit: int) -> None:
        self.last = 0
        self.behind = True
        self._limit = limit
        self._rows: deque[Row] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def offer(self, row: Row) -> None:
        """Take in a row just committed, unless it is not the next one or there is no room: then it is read later.

        An id that was left out belongs to another process (an operator who retries): its row is only in the file.
        """
        fits = self._bytes + len(row.entry.payload) <= self._limit
        if self.behind or row.id != self.last + 1 or not fits:
            self.behind = True
        else:
            self._append(row)

    def refill(self, rows: Iterable[Row], end: int | None) -> None:
        """Take in rows read from the file, past `last`. `end` is the newest id there, or None when more are to come."""
        for row in rows:
            self._append(row)
        if end is not None:
            self.last = max(self.last, end)
            self.behind = False

    def _append(self, row: Row) -> None:
        self._rows.append(row)
        self._bytes += len(row.entry.payload)
        self.last = row.id

    def pop(self) -> Row:
        """The next row. Raises IndexError when none is ready."""
        row = self._rows.popleft()
        self._bytes -= len(row.entry.payload)
        return row
