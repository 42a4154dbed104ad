"""The journal on disk: what a restart finds, what memory holds, who may open the file, and what an operator does."""

# ruff: noqa: ASYNC220, ASYNC240  nothing else runs in these loops that could be kept waiting

from __future__ import annotations

import asyncio
import random
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from spanbridge.collector.errors import Busy, ConfigError, SpanbridgeError
from spanbridge.collector.journal import DeadLetter, DeadLetterLimits, Entry, Settlement
from spanbridge.collector.journal.sqlite import dead_letters, schema
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.processors.types import Batch, Context

TRACE = b"0123456789abcdef"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "traces.db"


def entry(payload: bytes = b"payload") -> Entry:
    return Entry(payload, Context(receiver="otlp"))


async def taken(journal: SqliteJournal, count: int) -> list[bytes]:
    return [(await asyncio.wait_for(journal.take(), 10)).entry.payload for _ in range(count)]


async def rows_of(path: Path) -> list[bytes]:
    """What a restart finds due."""
    async with SqliteJournal(path) as journal:
        return await taken(journal, journal.state().rows)


async def test_after_a_restart_what_was_not_settled_is_due_again(path: Path) -> None:
    now = 1000.0
    async with SqliteJournal(path, clock=lambda: now) as journal:
        for number in range(4):
            await journal.put(entry(b"%d" % number))
            now += 10
        rows = [await journal.take() for _ in range(3)]
        await journal.settle(Settlement(rows=[rows[0].id], parts={rows[1].id: [TRACE]}))
        await journal.settle(Settlement(parts={rows[1].id: [TRACE, bytes(16)], rows[0].id: [TRACE]}))
    async with SqliteJournal(path, clock=lambda: now) as journal:
        assert journal.state().oldest_age == 30.0
        again = [await journal.take() for _ in range(3)]
    assert [row.entry for row in again] == [entry(b"1"), entry(b"2"), entry(b"3")]
    assert [row.id for row in again][:2] == [rows[1].id, rows[2].id]
    assert [row.settled for row in again] == [{TRACE, bytes(16)}, frozenset(), frozenset()]


async def test_what_comes_back_from_the_file_is_not_known_to_be_sound(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.put(Entry(b"payload", Context(), sound=True))
    async with SqliteJournal(path) as journal:
        assert not (await journal.take()).entry.sound


async def test_ids_are_never_used_again(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.put(entry())
        first = await journal.take()
        await journal.settle(Settlement(rows=[first.id]))
    async with SqliteJournal(path) as journal:
        await journal.put(entry())
        assert (await journal.take()).id > first.id


async def test_a_settled_row_leaves_nothing_behind(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.put(entry())
        row = await journal.take()
        await journal.settle(Settlement(parts={row.id: [TRACE]}))
        await journal.settle(Settlement(rows=[row.id]))
        await journal.settle(Settlement(parts={row.id: [TRACE]}))
    with closing(sqlite3.connect(path)) as connection:
        assert [connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in ("rows", "parts")] == [
            (0,),
            (0,),
        ]


async def test_leaving_waits_for_what_was_queued(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        puts = [asyncio.create_task(journal.put(entry(b"%d" % number))) for number in range(100)]
        await asyncio.sleep(0)
    await asyncio.gather(*puts)
    assert await rows_of(path) == [b"%d" % number for number in range(100)]
    with pytest.raises(Busy):
        await journal.put(entry())
    with pytest.raises(SpanbridgeError, match="the journal is closed; the rows stay due"):
        await journal.settle(Settlement(rows=[1]))


@pytest.mark.parametrize("max_ready_bytes", [0, 50, 1000, 1 << 20])
async def test_rows_keep_their_order_when_takers_and_putters_race(path: Path, max_ready_bytes: int) -> None:
    chance = random.Random(max_ready_bytes)
    async with SqliteJournal(path, max_ready_bytes=max_ready_bytes) as journal:

        async def putter(name: int) -> None:
            for number in range(100):
                await journal.put(entry(b"%d %d" % (name, number)))
                if chance.random() < 0.1:
                    await asyncio.sleep(0.001)

        async def taker() -> list[tuple[int, bytes]]:
            seen = []
            for _ in range(400):
                row = await asyncio.wait_for(journal.take(), 10)
                seen.append((row.id, row.entry.payload))
                if chance.random() < 0.1:
                    await asyncio.sleep(0.001)
            return seen

        seen, *_ = await asyncio.gather(taker(), *map(putter, range(4)))
    assert [id_ for id_, _ in seen] == list(range(1, 401))
    for name in range(4):
        mine = [payload for _, payload in seen if payload.startswith(b"%d " % name)]
        assert mine == [b"%d %d" % (name, number) for number in range(100)]


async def test_the_file_does_not_grow_while_rows_come_and_go(path: Path) -> None:
    payload = random.Random(0).randbytes(300_000)
    async with SqliteJournal(path) as journal:
        for _ in range(300):
            await journal.put(entry(payload))
            await journal.settle(Settlement(rows=[(await journal.take()).id]))
        sizes = {file.name: file.stat().st_size for file in path.parent.iterdir()}
    assert sizes["traces.db"] < 4 << 20
    assert sizes["traces.db-wal"] < 16 << 20


async def test_commits_with_fsync_and_small_hand_off_work_alike(path: Path) -> None:
    async with SqliteJournal(path, fsync=True, max_ready_bytes=10) as journal:
        await asyncio.gather(*(journal.put(entry(b"%d" % number)) for number in range(50)))
        assert len(set(await taken(journal, 50))) == 50


async def test_only_the_owner_may_read_the_files(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.put(entry())
        assert {file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {0}


HOLD = """
import asyncio, sys
from pathlib import Path
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
async def main():
    async with SqliteJournal(Path(sys.argv[1])):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""


async def test_a_journal_that_another_process_holds_is_refused_until_that_is_gone(path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(
            ConfigError, match=re.escape(f"{path}: process {holder.pid} has this journal open; stop it")
        ):
            await SqliteJournal(path).__aenter__()
        holder.kill()
    assert await rows_of(path) == []


async def test_a_journal_of_a_newer_version_is_refused(path: Path) -> None:
    async with SqliteJournal(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match=r"newer spanbridge \(schema 99, this one knows 1\); run that version"):
        await SqliteJournal(path).__aenter__()


async def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE experiments (id)")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="another program's database; give the journal a folder of its own"):
        await SqliteJournal(path).__aenter__()
    assert path.read_bytes() == before


async def test_a_place_that_can_not_be_written_to_is_named(path: Path) -> None:
    path.parent.write_text("a file, not a folder")
    with pytest.raises(ConfigError, match=r"traces\.db: the journal can't be opened .*; give it a folder"):
        await SqliteJournal(path).__aenter__()


async def test_a_file_that_another_program_keeps_locked_is_not_started_with(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SqliteJournal(path) as journal:
        await journal.put(entry(b"waits"))
    monkeypatch.setattr(schema, "_BUSY_TIMEOUT", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(
            ConfigError, match=r"traces\.db: the journal can't be opened \(database is locked\); give it"
        ):
            await SqliteJournal(path).__aenter__()
    assert await rows_of(path) == [b"waits"]


def refused(*trace_ids: bytes, exporter: str = "mlflow", reason: str = "bad span") -> DeadLetter:
    batch = Batch()
    spans = batch.resource_spans.add().scope_spans.add().spans
    for trace_id in trace_ids:
        spans.add(trace_id=trace_id, name="x")
    return DeadLetter(batch.SerializeToString(), Context(tenant="team"), exporter, reason)


def in_another_process(call: str, path: Path) -> str:
    code = f"import sys, pathlib; import spanbridge.collector.journal.sqlite.dead_letters as d; print(d.{call})"
    code = code.replace("PATH", "pathlib.Path(sys.argv[1])")
    return subprocess.check_output([sys.executable, "-c", code, path], text=True).strip()


async def test_an_operator_sees_what_was_set_aside_and_why(path: Path) -> None:
    before = time.time()
    async with SqliteJournal(path) as journal:
        first, second = refused(TRACE, TRACE, bytes(16)), DeadLetter(b"\xff", Context(), "debug", "line\nbreak \udcff")
        await journal.settle(Settlement(dead_letters=[first, second]))
        listed = dead_letters.entries(path)
    assert [(item.exporter, item.reason, item.span_count, item.trace_ids) for item in listed] == [
        ("mlflow", "bad span", 3, (TRACE.hex(), "00" * 16)),
        ("debug", "line\nbreak ?", 0, ()),
    ]
    assert all(before <= item.time <= time.time() for item in listed)
    assert listed == dead_letters.entries(path), "it is also there when no bridge runs"


async def test_what_is_set_aside_is_bounded_and_the_oldest_goes(path: Path) -> None:
    items = [refused(b"%016d" % number) for number in range(50)]
    async with SqliteJournal(path, dead_letter_limits=DeadLetterLimits(rows=10)) as journal:
        for start in range(0, 50, 5):
            await journal.settle(Settlement(dead_letters=items[start : start + 5]))
        await journal.put(entry(b"others are not shut out"))
        assert journal.state().dead_letters == 10
    assert [item.trace_ids for item in dead_letters.entries(path)] == [((b"%016d" % n).hex(),) for n in range(40, 50)]


async def test_what_an_operator_retries_comes_out_of_the_running_bridge(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        items = [refused(TRACE), refused(bytes(16)), refused(b"x" * 16)]
        await journal.put(entry(b"before"))
        await journal.settle(Settlement(dead_letters=items))
        assert await taken(journal, 1) == [b"before"]
        waiting = asyncio.create_task(taken(journal, 1))
        first, second, third = [item.id for item in dead_letters.entries(path)]
        assert await asyncio.to_thread(in_another_process, f"retry(PATH, [{second}, 99])", path) == "1"
        assert await asyncio.wait_for(waiting, 10) == [items[1].payload]
        await asyncio.to_thread(in_another_process, f"retry(PATH, [{third}])", path)
        await journal.put(entry(b"after"))
        assert await taken(journal, 2) == [items[2].payload, b"after"]
        assert journal.state().dead_letters == 1
        assert journal.state().rows == 4
        assert await asyncio.to_thread(in_another_process, f"drop(PATH, [{first}])", path) == "1"
        assert dead_letters.entries(path) == []
    assert await rows_of(path) == [b"before", items[1].payload, items[2].payload, b"after"]


async def test_a_retried_row_keeps_its_context(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.settle(Settlement(dead_letters=[refused(TRACE)]))
    assert dead_letters.retry(path) == 1
    async with SqliteJournal(path) as journal:
        assert (await journal.take()).entry.context == Context(tenant="team")
        assert journal.state().dead_letters == 0


def test_an_operator_with_the_wrong_path_is_told_and_makes_no_file(path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no journal here"):
        dead_letters.entries(path)
    assert not path.exists()
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError, match="start the bridge, which saves what can be read"):
        dead_letters.retry(path)
