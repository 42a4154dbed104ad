"""The journal on disk against a model of it, through restarts, crashes, and an operator at work beside it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from spanbridge.collector.errors import Busy, TooLarge
from spanbridge.collector.journal import DeadLetter, Entry, Row, Settlement
from spanbridge.collector.journal.context import dump
from spanbridge.collector.journal.sqlite import dead_letters, worker
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from tests.samples.strategies import entries, refused_spans, trace_ids

CAPACITY = 1500
MEMORY = Path("/dev/shm")  # thousands of opens and closes would mostly wait for the disk's fsync
READY_BYTES = st.sampled_from([0, 1, 400, 1 << 20])


def size(item: Entry | DeadLetter) -> int:
    return len(item.payload) + len(dump(item.context))


class JournalMachine(RuleBasedStateMachine):
    """`due` and `aside` are what must be in the file; `taken` and `settled_then` are what this life of it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.path = self.folder / "journal.db"
        self.newest = 0
        self.due: dict[int, Entry] = {}
        self.settled: dict[int, set[bytes]] = {}
        self.aside: dict[tuple[str, bytes], DeadLetter] = {}
        self.taken: set[int] = set()

    @initialize(max_ready_bytes=READY_BYTES)
    def open(self, max_ready_bytes: int) -> None:
        self.journal = SqliteJournal(self.path, capacity=CAPACITY, max_ready_bytes=max_ready_bytes)
        self.runner.run(self.journal.__aenter__())
        self.taken.clear()

    def close(self) -> None:
        self.runner.run(self.journal.__aexit__(None, None, None))

    def teardown(self) -> None:
        self.close()
        self.runner.close()
        shutil.rmtree(self.folder)

    @property
    def held(self) -> int:
        return sum(map(size, self.due.values())) + sum(map(size, self.aside.values()))

    @property
    def untaken(self) -> list[int]:
        return sorted(self.due.keys() - self.taken)

    @rule(batch=st.lists(entries(), min_size=1, max_size=8) | st.lists(entries(CAPACITY + 50), max_size=2))
    def put(self, batch: list[Entry]) -> None:
        async def put_all() -> list[BaseException | None]:
            return await asyncio.gather(*map(self.journal.put, batch), return_exceptions=True)

        for entry, result in zip(batch, self.runner.run(put_all()), strict=True):
            if size(entry) > CAPACITY:
                assert isinstance(result, TooLarge)
            elif self.held + size(entry) > CAPACITY:
                assert isinstance(result, Busy)
            else:
                assert result is None
                self.newest += 1
                self.due[self.newest] = entry

    @precondition(lambda self: self.untaken)
    @rule(count=st.integers(1, 6))
    def take(self, count: int) -> None:
        for expected in self.untaken[:count]:
            row = self.runner.run(asyncio.wait_for(self.journal.take(), 10))
            assert row == Row(expected, self.due[expected], frozenset(self.settled.get(expected, ())))
            self.taken.add(expected)

    @precondition(lambda self: not self.untaken)
    @rule()
    def take_in_vain(self) -> None:
        with pytest.raises(TimeoutError):
            self.runner.run(asyncio.wait_for(self.journal.take(), 0.01))

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), items=st.lists(refused_spans(), max_size=2))
    def settle(self, data: st.DataObject, items: list[DeadLetter]) -> None:
        """Of rows that were taken, also such as are gone already."""
        known = st.sampled_from(sorted(self.taken))
        rows = data.draw(st.lists(known, max_size=4))
        parts = data.draw(st.dictionaries(known, st.lists(trace_ids(), min_size=1, max_size=3), max_size=4))
        self.runner.run(self.journal.settle(Settlement(rows, parts, items)))
        for row in rows:
            self.due.pop(row, None)
            self.settled.pop(row, None)
        for row in parts.keys() & self.due.keys():
            self.settled.setdefault(row, set()).update(parts[row])
        for item in items:
            self.aside.setdefault((item.exporter, item.payload), item)

    @rule(max_ready_bytes=READY_BYTES)
    def restart(self, max_ready_bytes: int) -> None:
        self.close()
        self.open(max_ready_bytes)

    @rule(max_ready_bytes=READY_BYTES)
    def crash(self, max_ready_bytes: int) -> None:
        left = Path(tempfile.mkdtemp(dir=self.folder))
        for name in (self.path.name, self.path.name + "-wal"):
            shutil.copy(self.path.parent / name, left / name)
        self.close()
        self.path = left / self.path.name
        self.open(max_ready_bytes)

    @precondition(lambda self: self.aside)
    @rule()
    def retry(self) -> None:
        assert dead_letters.retry(self.path) == len(self.aside)
        for item in self.aside.values():
            self.newest += 1
            self.due[self.newest] = Entry(item.payload, item.context)
        self.aside.clear()

    @precondition(lambda self: self.aside)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.aside) - 1))
        key = list(self.aside)[place]
        listed = dead_letters.entries(self.path)[place]
        assert (listed.exporter, listed.reason) == (key[0], self.aside[key].reason)
        assert dead_letters.drop(self.path, [listed.id]) == 1
        del self.aside[key]

    @invariant()
    def state_agrees(self) -> None:
        async def agreed() -> None:
            deadline = time.monotonic() + 10  # what another process wrote is noticed a moment later
            while True:
                state = self.journal.state()
                if (state.rows, state.bytes, state.dead_letters) == (len(self.due), self.held, len(self.aside)):
                    return
                assert time.monotonic() < deadline, state
                await asyncio.sleep(0.001)

        self.runner.run(agreed())


@pytest.fixture(autouse=True, scope="module")
def _impatient() -> object:
    patch = pytest.MonkeyPatch()
    patch.setattr(worker, "_POLL", 0.005)
    yield
    patch.undo()


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
