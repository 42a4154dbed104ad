"""The rows that `take` returns next: in the order of ids, each once, from memory or else from the file. Pure.

A row that was just committed is in memory anyway, and is handed on from there: to read each row back would double the
work of a bridge that keeps up. Memory is bounded, so past a limit rows stay in the file alone and are read from it
later. The rule that keeps both ways in one order is that of `behind`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from spanbridge.collector.journal import Row


class ReadyQueue:
    """Rows ready to be taken.

    All rows up to the id `last` have come through here. While `behind` is False there are no others, and a row just
    committed is the next one. While it is True the file holds rows past `last`, and new ones come from `refill` alone:
    were one let in from memory now, it would overtake those, and `refill` would then bring it a second time.

    Args:
        limit: Bytes of payload above which a committed row is left to be read from the file. A refill may go over.
    """

    def __init__(self, limit: int) -> None:
        self.last = 0
        self.behind = True  # at the start: nobody has looked yet what an earlier life left in the file
        self._limit = limit
        self._rows: deque[Row] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def offer(self, row: Row) -> None:
        """Add a row just committed, unless it is not the next one or there is no room: then it is read later.

        An id that was left out is of a row of another process (an operator's retry), which is only in the file.
        """
        fits = self._bytes + len(row.entry.payload) <= self._limit
        if self.behind or row.id != self.last + 1 or not fits:
            self.behind = True
        else:
            self._append(row)

    def refill(self, rows: Iterable[Row], end: int | None) -> None:
        """Add rows that were read from the file.

        Args:
            rows: The rows past `last`, in order, without gaps but for rows that are gone.
            end: The newest id ever given in the file if these were all, None if more are to come. It may be above
                that of the last row: the rows in between were settled, and the next id follows it.
        """
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
        """Remove and return the next row.

        Raises:
            IndexError: None is ready.
        """
        row = self._rows.popleft()
        self._bytes -= len(row.entry.payload)
        return row
