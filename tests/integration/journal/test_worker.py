"""The journal's worker on its own: what it reports belongs to the commit that it reports."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from spanbridge.collector.journal import DeadLetter, DeadLetterLimits, Entry, Settlement
from spanbridge.collector.journal.sqlite import dead_letters, worker
from spanbridge.collector.journal.sqlite.messages import (
    Changed,
    Close,
    Committed,
    Event,
    Loaded,
    Put,
    Read,
    Refused,
    Settle,
)
from spanbridge.collector.journal.sqlite.statements import Record
from spanbridge.collector.journal.sqlite.worker import Worker
from spanbridge.processors.types import Context
from tests.polling import until


@dataclass
class Running:
    """A worker in its thread, and what it has reported."""

    worker: Worker
    events: list[Event]

    @property
    def commits(self) -> list[Committed]:
        return [event for event in self.events if isinstance(event, Committed)]

    @property
    def refused(self) -> list[Put]:
        return [put for event in self.events if isinstance(event, Refused) for put in event.puts]

    @property
    def told(self) -> list[int]:
        """How many dead letters there were, each time something was told that no commit of this worker did."""
        return [event.totals.dead_letters for event in self.events if isinstance(event, Changed)]

    def put(self, payload: bytes = b"payload") -> Put:
        command = Put(Record(0.0, Entry(payload, Context()), b""), asyncio.get_running_loop().create_future())
        self.worker.commands.put(command)
        return command

    def settle(self, settlement: Settlement) -> Settle:
        command = Settle(settlement, asyncio.get_running_loop().create_future())
        self.worker.commands.put(command)
        return command


def worker_on(folder: Path, events: list[Event]) -> Worker:
    limits = DeadLetterLimits()
    return Worker(folder / "traces.journal", events.append, fsync=False, dead_letter_limits=limits)


@pytest.fixture
def queued(tmp_path: Path) -> Running:
    """A worker that has not been started: what is asked of it waits."""
    events: list[Event] = []
    return Running(worker_on(tmp_path, events), events)


@contextmanager
def started(running: Running) -> Iterator[None]:
    thread = threading.Thread(target=running.worker.run, args=(lambda: None,))
    thread.start()
    try:
        yield
    finally:
        running.worker.commands.put(Close())
        thread.join()


async def test_a_commit_reported_tells_nothing_of_what_came_after_it(queued: Running) -> None:
    """The event loop may be busy when the report comes: a settlement that it finds there must be in the file."""
    with started(queued):
        queued.put()
        await until(lambda: len(queued.commits) == 1)
        settle = queued.settle(Settlement(rows=[1]))
        await until(lambda: len(queued.commits) == 2)
    assert [list(event.settles) for event in queued.commits] == [[], [settle]]


async def test_what_waits_is_committed_together(queued: Running) -> None:
    """One commit is a wait for the disk: a hundred senders share it."""
    puts = [queued.put(b"%d" % number) for number in range(100)]
    settle = queued.settle(Settlement(rows=[7]))
    with started(queued):
        await until(lambda: queued.commits)
    (commit,) = queued.commits
    assert (list(commit.puts), list(commit.settles)) == (puts, [settle])
    assert list(commit.ids) == list(range(1, 101))


async def test_what_was_committed_is_not_committed_again(queued: Running) -> None:
    with started(queued):
        first = queued.settle(Settlement(released={bytes(16): "kept"}))
        await until(lambda: queued.commits)
        queued.worker.commands.put(Read(0, 100))  # a turn with nothing to commit
        await until(lambda: any(isinstance(event, Loaded) for event in queued.events))
        last = queued.put()
        await until(lambda: len(queued.commits) > 1)
    assert [(list(event.puts), list(event.settles)) for event in queued.commits] == [([], [first]), ([last], [])]


async def test_what_comes_before_the_end_is_done(queued: Running) -> None:
    puts = [queued.put() for _ in range(3)]
    queued.worker.commands.put(Close())
    queued.worker.run(lambda: None)
    assert [list(event.puts) for event in queued.commits] == [puts]


async def test_settlements_are_not_held_up_by_puts_that_do_not_fit(
    queued: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_RESERVE", 1 << 60)  # no disk has so much
    put, settle = queued.put(bytes(100_000)), queued.settle(Settlement(rows=[1]))
    with started(queued):
        await until(lambda: queued.refused)
    (commit,) = queued.commits
    assert (list(commit.puts), list(commit.settles)) == ([], [settle])
    assert queued.refused == [put]


async def test_a_put_has_the_room_of_what_is_settled_with_it(
    queued: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        queued.put(bytes(100_000))
    with started(queued):
        await until(lambda: queued.commits)
    monkeypatch.setattr(worker, "_RESERVE", 1 << 60)  # no disk has so much: there is only what is free in the file
    events: list[Event] = []
    later = Running(worker_on(tmp_path, events), events)
    put, settle = later.put(bytes(100_000)), later.settle(Settlement(rows=range(1, 21)))
    with started(later):
        await until(lambda: any(event.puts for event in later.commits) or later.refused)
    assert later.refused == []
    assert [list(event.settles) for event in later.commits] == [[settle], []]
    assert [list(event.puts) for event in later.commits] == [[], [put]]


async def test_what_an_operator_did_is_told_once(
    queued: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time it is told, rows have to be read from the file again instead of going on from memory."""
    monkeypatch.setattr(worker, "_POLL", 0.001)  # a look at nearly each turn
    queued.settle(Settlement(dead_letters=[DeadLetter(spans, Context(), "mlflow", "bad") for spans in (b"a", b"b")]))
    with started(queued):
        await until(lambda: queued.commits)
        assert dead_letters.drop(tmp_path / "traces.journal", [1]) == 1
        await until(lambda: queued.told == [0, 1])
        for turn in range(1, 6):
            queued.put()
            await until(lambda turn=turn: len(queued.commits) > turn)
    assert queued.told == [0, 1], "at the start, and once more"
