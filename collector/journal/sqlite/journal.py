"""The journal on disk: one SQLite file, one thread that owns it, and what the event loop knows of it.

`put` returns after the COMMIT of the transaction that holds the entry, so killing the process loses nothing that was
acknowledged; with `fsync` neither does a loss of power (see `database` for SQLite's own words on both).

While both are at work, loop and thread share nothing but messages. The loop does its bookkeeping from events alone,
which come in the order of the commits: what is in the file but not yet told of does not exist for it. To be right while
puts are under way it counts these by itself (`_queued`), from the moment they are sent to the one they are told of.

A row goes to `take` in memory when it is the next one and there is room (`ready_queue`), and is read back from
the file otherwise; after a restart that is where all of them come from. See `ready_queue` for the rule of their order.
"""

from __future__ import annotations

import asyncio
import threading
import time
from asyncio import Future
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from spanbridge.collector.errors import Busy, SpanbridgeError, TooLarge
from spanbridge.collector.journal import (
    DEAD_LETTER_LIMITS,
    DeadLetterLimits,
    Entry,
    JournalState,
    Row,
    Settlement,
    check_trace_ids,
)
from spanbridge.collector.journal.context import dump
from spanbridge.collector.journal.sqlite.database import Totals
from spanbridge.collector.journal.sqlite.messages import (
    Changed,
    Close,
    Committed,
    Corrupt,
    Event,
    Loaded,
    Put,
    Read,
    Refused,
    Settle,
)
from spanbridge.collector.journal.sqlite.ready_queue import ReadyQueue
from spanbridge.collector.journal.sqlite.statements import Record
from spanbridge.collector.journal.sqlite.worker import Worker

_LARGEST_ROW = 900 << 20
"""Bytes; SQLite's default limit for a row is 10**9 (SQLITE_MAX_LENGTH)."""
_CHUNK = 1 << 20
"""Bytes read from the file at a time: enough to keep delivery busy, and no long wait for puts that come meanwhile."""


def _ignore(_: object) -> None:
    pass


class SqliteJournal:
    """The journal's contract on a file.

    The file gets somewhat larger than `capacity` and does not shrink, but its pages are used again.

    Args:
        path: The file; its folder is made too.
        capacity: Bytes of payload and context, due, under way or dead letters, above which puts are refused. Dead
            letters are never refused and may go over.
        fsync: Whether commits survive a loss of power.
        max_ready_bytes: Bytes of payload that wait in memory for `take`; rows beyond are read from the file.
        dead_letter_limits: The limits of dead letters.
        on_corrupt: Called in the event loop with the place to which a damaged file was moved.
        on_dropped: Called in the event loop with the number of dead letters that had to go for others.
        clock: Returns unix seconds.

    Raises:
        ConfigError: On entering: another process has this journal open, or the path can't be this journal.
    """

    def __init__(  # noqa: PLR0913  each is a setting of its own
        self,
        path: Path,
        *,
        capacity: int = 1 << 30,
        fsync: bool = False,
        max_ready_bytes: int = 32 << 20,
        dead_letter_limits: DeadLetterLimits = DEAD_LETTER_LIMITS,
        on_corrupt: Callable[[Path], None] = _ignore,
        on_dropped: Callable[[int], None] = _ignore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._capacity = capacity
        self._largest = min(capacity, _LARGEST_ROW)
        self._chunk = min(max_ready_bytes, _CHUNK)
        self._on_corrupt = on_corrupt
        self._on_dropped = on_dropped
        self._clock = clock
        self._ready = ReadyQueue(max_ready_bytes)
        self._worker = Worker(path, self._report, fsync=fsync, dead_letter_limits=dead_letter_limits)
        self._totals = Totals()
        self._queued = 0
        self._reading = False
        self._closing = False
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._opened: Future[None] = self._loop.create_future()
        self._closed: Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()
        try:
            await self._opened
        except BaseException:
            self._worker.commands.put(Close())
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        self._worker.commands.put(Close())
        await self._closed
        self._thread.join()
        for settle in self._worker.unsettled:
            _fail(settle.done, SpanbridgeError("the journal closed before it could settle; the rows stay due"))

    def _work(self) -> None:
        problem: SpanbridgeError = SpanbridgeError("the journal was closed before it was open")
        try:
            self._worker.run(lambda: self._call(_resolve, self._opened))
        except SpanbridgeError as error:
            problem = error
        finally:
            self._call(self._ended, problem)

    def _ended(self, problem: SpanbridgeError) -> None:
        _fail(self._opened, problem)
        _resolve(self._closed)

    def _report(self, event: Event) -> None:
        self._call(self._on, event)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: the program ends, and nobody is left to be told
            self._loop.call_soon_threadsafe(function, *arguments)

    async def put(self, entry: Entry) -> None:
        """Return once the entry is committed.

        Cancelling it does not call it back: it is committed nevertheless, as nobody can tell how far it is.

        Raises:
            Busy: It does not fit now, the disk refuses, or the journal is closing.
            TooLarge: It would not fit into an empty journal, so sending it again can't help.
        """
        record = Record(self._clock(), entry, dump(entry.context))
        size = record.size
        if size > self._largest:
            raise TooLarge(f"the request is larger than the whole journal ({self._largest} bytes)")
        if self._totals.bytes + self._queued + size > self._capacity:
            raise Busy("the journal is full; send again later")
        if self._closing:
            raise Busy("the journal is closing; send again later")
        put = Put(record, self._loop.create_future())
        self._queued += size
        self._worker.commands.put(put)
        await put.done

    async def take(self) -> Row:
        """Return the next due row in the order of ids, each once in the life of the process; wait if there is none."""
        while not self._ready:
            # One read at a time, whoever waits: two would bring the same rows, and they would be delivered twice.
            if self._ready.behind and not self._reading:
                self._reading = True
                self._worker.commands.put(Read(self._ready.last, self._chunk))
            self._news.clear()
            await self._news.wait()
        return self._ready.pop()

    async def settle(self, settlement: Settlement) -> None:
        """Return once the settlement is committed, however long the disk refuses it.

        Raises:
            ValueError: A trace id is not 16 bytes long.
            SpanbridgeError: The journal was closed before it could be committed; its rows are due again.
        """
        check_trace_ids(settlement)
        if self._closing:
            raise SpanbridgeError("the journal is closed; the rows stay due")
        settle = Settle(settlement, self._loop.create_future())
        self._worker.commands.put(settle)
        await settle.done

    def released(self) -> Mapping[bytes, str]:
        """Return the traces that were released before this start, and their notes."""
        return self._worker.released

    def state(self) -> JournalState:
        """Return the reading as of the last commit."""
        rows, held, dead_letters, oldest = self._totals
        age = 0.0 if oldest is None else max(0.0, self._clock() - oldest)
        return JournalState(held, self._capacity, rows, age, dead_letters)

    def _on(self, event: Event) -> None:
        """Update what the loop knows by an event, and wake whoever waits for it.

        Rows are offered before their senders are answered: whoever has been told OK finds the row on its way.
        """
        match event:
            case Committed(puts, ids, settles, totals, dropped):
                self._totals = totals
                for put, id_ in zip(puts, ids, strict=True):
                    self._ready.offer(Row(id_, put.record.entry))
                self._answer(puts)
                for settle in settles:
                    _resolve(settle.done)
                if dropped:
                    self._on_dropped(dropped)
            case Refused(puts):
                self._answer(puts, "the journal can't be written to at the moment; send again later")
            case Loaded(rows, end, totals):
                self._totals = totals
                self._reading = False
                self._ready.refill(rows, end)
            case Changed(totals):
                self._totals = totals
                self._ready.behind = True
            case Corrupt(moved):
                self._on_corrupt(moved)
        self._news.set()

    def _answer(self, puts: Iterable[Put], refusal: str = "") -> None:
        for put in puts:
            self._queued -= put.record.size
            if refusal:
                _fail(put.done, Busy(refusal))
            else:
                _resolve(put.done)


def _resolve(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
