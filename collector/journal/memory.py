"""A journal without a disk: for tests, and for whoever would rather lose spans than write them to one."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Self

from spanbridge.collector.errors import Busy, TooLarge
from spanbridge.collector.journal import (
    DEAD_LETTER_LIMITS,
    DeadLetter,
    DeadLetterLimits,
    Entry,
    JournalState,
    Row,
    Settlement,
    check_trace_ids,
)
from spanbridge.collector.journal.context import dump


class MemoryJournal:
    """The journal's contract kept in memory: bounded the same way, and gone with the process.

    Dead letters are counted only: no other process can reach them to retry or drop them.

    Args:
        capacity: Bytes of payload and context, due and dead letters, above which puts are refused.
        dead_letter_limits: The limits of dead letters.
        on_dropped: Called with the number of dead letters that had to go for others.
        clock: Returns unix seconds.
    """

    def __init__(
        self,
        capacity: int = 1 << 30,
        *,
        dead_letter_limits: DeadLetterLimits = DEAD_LETTER_LIMITS,
        on_dropped: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._capacity = capacity
        self._limits = dead_letter_limits
        self._on_dropped = on_dropped
        self._clock = clock
        self._bytes = 0
        self._last_id = 0
        self._ready: deque[Row] = deque()
        self._due: dict[int, tuple[int, float]] = {}  # id -> bytes, time of arrival; in the order of ids
        # exporter, payload -> bytes; the oldest first
        self._dead_letters: OrderedDict[tuple[str, bytes], int] = OrderedDict()
        self._arrival = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing: there is nothing open, and nothing to keep."""

    async def put(self, entry: Entry) -> None:
        """Keep the entry.

        Raises:
            Busy: It does not fit now.
            TooLarge: It would not fit into an empty journal.
        """
        size = len(entry.payload) + len(dump(entry.context))
        if size > self._capacity:
            raise TooLarge(f"the request is larger than the whole journal ({self._capacity} bytes)")
        if self._bytes + size > self._capacity:
            raise Busy("the journal is full; send again later")
        self._last_id += 1
        self._bytes += size
        self._due[self._last_id] = size, self._clock()
        self._ready.append(Row(self._last_id, entry))
        self._arrival.set()

    async def take(self) -> Row:
        """Return the next due row, each once; wait for one if there is none."""
        while not self._ready:
            self._arrival.clear()
            await self._arrival.wait()
        return self._ready.popleft()

    async def settle(self, settlement: Settlement) -> None:
        """Forget settled rows. Parts need no record: nothing is due again in the life of the process.

        Raises:
            ValueError: A trace id is not 16 bytes long.
        """
        check_trace_ids(settlement)
        for row in settlement.rows:
            size, _ = self._due.pop(row, (0, 0.0))
            self._bytes -= size
        for item in settlement.dead_letters:
            self._keep(item)
        if dropped := self._drop_oldest():
            self._on_dropped(dropped)

    def _keep(self, item: DeadLetter) -> None:
        key = (item.exporter, item.payload)
        if key not in self._dead_letters:
            self._dead_letters[key] = len(item.payload) + len(dump(item.context))
            self._bytes += self._dead_letters[key]

    def _drop_oldest(self) -> int:
        kept, limits = self._dead_letters, self._limits
        dropped, held = 0, sum(kept.values())
        while len(kept) > 1 and (len(kept) > limits.rows or held > limits.bytes):
            _, size = kept.popitem(last=False)
            self._bytes -= size
            held -= size
            dropped += 1
        return dropped

    def released(self) -> Mapping[bytes, str]:
        """Return no traces: nothing is known from before."""
        return {}

    def state(self) -> JournalState:
        """Return the current reading."""
        _, oldest = next(iter(self._due.values()), (0, 0.0))
        age = max(0.0, self._clock() - oldest) if self._due else 0.0
        return JournalState(self._bytes, self._capacity, len(self._due), age, len(self._dead_letters))
