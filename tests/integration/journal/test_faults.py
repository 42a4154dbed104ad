"""The journal under kill -9, damage to its file, and a disk that refuses."""

# ruff: noqa: ASYNC221, ASYNC240  nothing else runs in these loops that could be kept waiting

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from spanbridge.collector.errors import Busy
from spanbridge.collector.journal import DeadLetter, Entry, Row, Settlement
from spanbridge.collector.journal.sqlite import dead_letters, recovery, salvage, schema, worker
from spanbridge.collector.journal.sqlite.database import Database
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.processors.types import Context
from tests.polling import until

TRACE = b"0123456789abcdef"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traces.db"


def entry(payload: bytes) -> Entry:
    return Entry(payload, Context(receiver="otlp"))


async def all_due(journal: SqliteJournal) -> list[Row]:
    return [await asyncio.wait_for(journal.take(), 10) for _ in range(journal.state().rows)]


# ---- kill -9

STREAM = """
import asyncio, os, sys
from pathlib import Path
from spanbridge.collector.journal import Entry, Settlement
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.processors.types import Context

say = lambda *words: os.write(1, " ".join(map(str, words)).encode() + b"\\n")

async def putter(journal, name):
    for number in range(10**6):
        await journal.put(Entry(b"%s %d " % (name.encode(), number) + os.urandom(3000), Context()))
        say("put", name, number)

async def taker(journal):
    while True:
        row = await journal.take()
        name, number, _ = row.entry.payload.split(b" ", 2)
        if row.id % 3 == 0:
            say("settling", name.decode(), int(number))
            await journal.settle(Settlement(rows=[row.id]))
            say("settled", name.decode(), int(number))

async def main():
    async with SqliteJournal(Path(sys.argv[1]), max_ready_bytes=20_000) as journal:
        await asyncio.gather(taker(journal), *(putter(journal, f"{sys.argv[2]}-{n}") for n in range(6)))

asyncio.run(main())
"""


def killed_after(lines: int, *arguments: object) -> list[list[str]]:
    """What a streaming process said, killed when it had said so much; what it was still saying counts as said."""
    process = subprocess.Popen([sys.executable, "-c", STREAM, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    with process:
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += process.stdout.readlines()
    return [line.split() for line in said if line.endswith("\n")]


async def test_kill_9_loses_nothing_that_was_promised(path: Path) -> None:
    chance = random.Random(9)
    promised: set[tuple[str, int]] = set()
    settling: set[tuple[str, int]] = set()
    settled: set[tuple[str, int]] = set()
    for life in range(5):
        for word, name, number in killed_after(chance.randrange(1, 1500), path, life):
            {"put": promised, "settling": settling, "settled": settled}[word].add((name, int(number)))
        async with SqliteJournal(path) as journal:
            rows = await all_due(journal)
        found = [(name.decode(), int(number)) for name, number, _ in (r.entry.payload.split(b" ", 2) for r in rows)]
        assert len(set(found)) == len(found)
        assert promised - settling <= set(found), "a put that returned is there"
        assert not settled & set(found), "a settlement that returned holds"
        assert [row.id for row in rows] == sorted(row.id for row in rows)
        for name in {name for name, _ in found}:
            mine = [number for other, number in found if other == name]
            assert mine == sorted(mine), "rows come in the order in which they were put"
    assert len(promised) > 100
    assert settled


# ---- damage


@contextmanager
def opened_raw(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection:
        yield connection


async def filled(path: Path, count: int = 200, size: int = 3000) -> list[Entry]:
    """A closed journal with rows of random bytes, parts of the 20th settled and one entry set aside."""
    chance = random.Random(1)
    sent = [entry(b"%d " % number + chance.randbytes(size)) for number in range(count)]
    async with SqliteJournal(path) as journal:
        for item in sent:
            await journal.put(item)
        parts = {20: [TRACE]}
        await journal.settle(Settlement(parts=parts, dead_letters=[DeadLetter(b"spans", Context(), "mlflow", "bad")]))
    return sent


async def survivors(path: Path) -> tuple[list[Row], list[Path]]:
    """What is due when the journal is opened on whatever is there now, and where damaged files went."""
    moved: list[Path] = []
    async with SqliteJournal(path, on_corrupt=moved.append) as journal:
        await journal.put(entry(b"new"))
        rows: list[Row] = []
        while not rows or rows[-1].entry.payload != b"new":
            rows.append(await asyncio.wait_for(journal.take(), 10))
        await journal.settle(Settlement(rows=[rows.pop().id]))
        assert journal.state().rows == len(rows)
        assert journal.state().bytes >= sum(len(row.entry.payload) for row in rows)
    return rows, moved


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def place_of(path: Path, payload: bytes) -> int:
    """Where in the file a row's bytes begin."""
    return path.read_bytes().index(payload[:200])


def page_of(path: Path, payload: bytes) -> int:
    """Where in the file the page begins that holds a row's first bytes."""
    return place_of(path, payload) // 4096 * 4096


def assert_moved(path: Path, moved: list[Path]) -> None:
    assert len(moved) == 1
    assert moved[0].exists()
    assert moved[0].name.startswith("traces.db.corrupt-2")
    left = {file.name for file in path.parent.iterdir()}
    assert left <= {path.name, path.name + ".lock", *(moved[0].name + end for end in ("", "-wal", "-shm"))}


@pytest.mark.parametrize("content", [b"", b"garbage" * 5000, bytes(100_000), b"SQLite format 3\0" + b"\xff" * 20_000])
async def test_a_file_of_garbage_is_moved_aside(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    rows, moved = await survivors(path)
    assert rows == []
    if content:  # an empty file is a new database to SQLite
        assert_moved(path, moved)
        assert moved[0].read_bytes()[:50] == content[:50]


async def test_what_is_before_the_end_of_a_truncated_file_is_saved(path: Path) -> None:
    sent = await filled(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    rows, moved = await survivors(path)
    assert_moved(path, moved)
    assert 60 < len(rows) < 140
    assert [row.entry for row in rows] == sent[: len(rows)]
    assert rows[19].settled == {TRACE}
    assert await survivors(path) == (rows, [])


async def test_what_is_around_a_bad_page_is_saved(path: Path) -> None:
    sent = await filled(path)
    for page in {page_of(path, sent[number].payload) for number in (50, 51, 120)}:
        overwrite(path, page, random.Random(2).randbytes(4096))
    rows, moved = await survivors(path)
    assert_moved(path, moved)
    lost = {number for number in range(200) if sent[number] not in [row.entry for row in rows]}
    assert lost == {50, 51, 120}
    assert [row.id for row in rows] == [number + 1 for number in range(200) if number not in lost]
    assert rows[19].settled == {TRACE}
    assert [item.exporter for item in dead_letters.entries(path)] == ["mlflow"]
    assert (await survivors(path))[1] == [], "the file in its place is sound"


@pytest.mark.parametrize("bad", [range(50, 111), range(10, 190), range(150, 200), (50, 51, 53), range(11, 199, 3)])
async def test_bad_rows_cost_no_others(path: Path, bad: Sequence[int]) -> None:
    sent = await filled(path)
    for number in bad:
        overwrite(path, place_of(path, sent[number].payload) + 500, b"rotten")
    rows, _ = await survivors(path)
    assert [row.entry for row in rows] == [entry for number, entry in enumerate(sent) if number not in bad]


@pytest.mark.parametrize("last", range(110, 120))
async def test_a_stretch_too_long_for_single_steps_costs_no_others(
    path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    monkeypatch.setattr(salvage, "_SINGLE_STEPS", 3)
    sent = await filled(path)
    for number in range(50, last):
        overwrite(path, place_of(path, sent[number].payload) + 500, b"rotten")
    rows, _ = await survivors(path)
    assert [row.entry for row in rows] == sent[:50] + sent[last:]


async def test_the_wal_of_a_damaged_file_goes_with_it_also_while_somebody_reads(path: Path) -> None:
    """Left in its place, it would be played into the new file, whose pages are others."""
    sent = await filled(path)
    overwrite(path, place_of(path, sent[100].payload) + 500, b"rotten")
    late = [entry(b"late %d " % number + bytes(3000)) for number in range(20)]
    moved: list[Path] = []
    async with SqliteJournal(path, on_corrupt=moved.append) as journal:
        for item in late:
            await journal.put(item)
        with opened_raw(path) as operator:
            operator.execute("BEGIN")
            operator.execute("SELECT count(*) FROM rows").fetchone()  # so that the WAL can't be folded into the file
            rows = [await asyncio.wait_for(journal.take(), 10) for _ in range(219)]
            await journal.put(entry(b"new"))
    assert [row.entry for row in rows] == sent[:100] + sent[101:] + late
    assert moved[0].with_name(moved[0].name + "-wal").stat().st_size > 60_000
    async with SqliteJournal(path, on_corrupt=moved.append) as journal:
        assert [row.entry for row in await all_due(journal)] == [*sent[:100], *sent[101:], *late, entry(b"new")]
    assert len(moved) == 1


async def test_what_a_crash_left_in_the_wal_is_saved_from_a_damaged_file(path: Path) -> None:
    sent = await filled(path)
    late = [entry(b"late %d " % number + bytes(3000)) for number in range(20)]
    left = path.parent / "left" / path.name
    left.parent.mkdir()
    async with SqliteJournal(path) as journal:
        for item in late:
            await journal.put(item)
        for name in (path.name, path.name + "-wal"):
            shutil.copy(path.with_name(name), left.with_name(name))
    overwrite(left, place_of(left, sent[50].payload) + 500, b"rotten")
    rows, moved = await survivors(left)
    assert [row.entry for row in rows] == sent[:50] + sent[51:] + late
    assert_moved(left, moved)
    assert await survivors(left) == (rows, []), "the WAL went with the damaged file and is not applied to the new one"


async def test_settled_traces_that_can_not_be_read_are_due_again(path: Path) -> None:
    sent = await filled(path)
    with opened_raw(path) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'parts'").fetchone()[0]
    overwrite(path, (root - 1) * 4096, random.Random(5).randbytes(4096))
    rows, moved = await survivors(path)
    assert_moved(path, moved)
    assert [row.entry for row in rows] == sent
    assert rows[19].settled == frozenset()


async def test_settled_traces_that_are_refused_for_a_moment_are_not_forgotten(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No damage, so there is nothing to be done without: the rows are saved when all can be read."""
    await filled(path)

    def refusing_parts(opened: Path) -> sqlite3.Connection:
        connection = schema.connect(opened)
        connection.set_authorizer(lambda _, table, *__: sqlite3.SQLITE_DENY if table == "parts" else sqlite3.SQLITE_OK)
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(salvage, "connect", refusing_parts)
        with pytest.raises(sqlite3.DatabaseError, match="prohibited"):
            salvage.salvage(path)
    assert salvage.salvage(path)[1] == 200
    rows, _ = await survivors(path)
    assert rows[19].settled == {TRACE}


async def test_bytes_that_rot_within_a_row_are_noticed_when_it_is_read(path: Path) -> None:
    sent = await filled(path, count=20, size=30_000)
    overwrite(path, place_of(path, sent[7].payload) + 100, b"rotten")
    rows, moved = await survivors(path)
    assert_moved(path, moved)
    assert [row.entry for row in rows] == sent[:7] + sent[8:]


async def test_damage_in_use_disturbs_neither_rows_on_their_way_nor_new_ones(path: Path) -> None:
    sent = await filled(path)
    overwrite(path, place_of(path, sent[100].payload) + 500, b"rotten")
    moved: list[Path] = []
    async with SqliteJournal(path, max_ready_bytes=50_000, on_corrupt=moved.append) as journal:
        before = [await journal.take() for _ in range(50)]
        await journal.settle(Settlement(rows=[row.id for row in before[:25]]))
        rows = before + [await journal.take() for _ in range(149)]
        assert [row.entry for row in rows] == sent[:100] + sent[101:]
        await journal.settle(Settlement(rows=[row.id for row in rows]))
        assert journal.state().rows == 0
        await journal.put(entry(b"new"))
        assert (await journal.take()).id > rows[-1].id, "an id that was given once is not given again"
    assert_moved(path, moved)


def break_totals(path: Path) -> None:
    """Damage what each commit and each look at the totals has to read, under a journal that is open."""
    with opened_raw(path) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'totals'").fetchone()[0]
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # or the sound page would be read from the WAL
    overwrite(path, (root - 1) * 4096, random.Random(3).randbytes(4096))
    with opened_raw(path) as connection:
        connection.execute("UPDATE sqlite_sequence SET seq = seq + 1")  # so that the journal's cache is stale
        connection.commit()


async def test_damage_met_by_a_put_does_not_fail_it(path: Path) -> None:
    sent = await filled(path)
    moved: list[Path] = []
    async with SqliteJournal(path, on_corrupt=moved.append) as journal:
        break_totals(path)
        await journal.put(entry(b"new"))
        assert [row.entry for row in await all_due(journal)] == [*sent, entry(b"new")]
    assert_moved(path, moved)


async def test_damage_met_while_nothing_comes_is_mended_and_told(path: Path) -> None:
    sent = await filled(path)
    overwrite(path, place_of(path, sent[100].payload) + 500, b"rotten")
    moved: list[Path] = []
    async with SqliteJournal(path, on_corrupt=moved.append) as journal:
        assert journal.state().rows == 200
        break_totals(path)
        await until(lambda: journal.state().rows == 199)
        assert [row.entry for row in await all_due(journal)] == sent[:100] + sent[101:]
    assert_moved(path, moved)


async def test_an_id_given_to_a_put_is_not_given_again_after_damage(path: Path) -> None:
    """Whoever settles a row late, which is no error, must not settle another's."""
    async with SqliteJournal(path) as journal:
        rows = []
        for number in range(50):
            await journal.put(entry(b"%d" % number))
            rows.append(await journal.take())
        await journal.settle(Settlement(rows=[row.id for row in rows[20:]]))
        break_totals(path)
        await journal.put(entry(b"new"))
        await journal.settle(Settlement(rows=[row.id for row in rows]))
        assert (await asyncio.wait_for(journal.take(), 10)).entry == entry(b"new")
        assert journal.state().rows == 1


async def test_an_id_given_to_an_operator_s_retry_is_not_given_again_after_damage(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.settle(Settlement(dead_letters=[DeadLetter(b"spans", Context(), "mlflow", "bad")]))
        assert dead_letters.retry(path) == 1
        retried = await asyncio.wait_for(journal.take(), 10)
        await journal.settle(Settlement(rows=[retried.id]))
        break_totals(path)
        await journal.put(entry(b"new"))
        assert (await asyncio.wait_for(journal.take(), 10)).id > retried.id


async def test_an_id_given_before_a_restart_is_not_given_again_after_damage(path: Path) -> None:
    await filled(path, count=10)
    async with SqliteJournal(path) as journal:
        rows = await all_due(journal)
        await journal.settle(Settlement(rows=[row.id for row in rows]))
    moved: list[Path] = []
    async with SqliteJournal(path, on_corrupt=moved.append) as journal:
        break_totals(path)
        await journal.put(entry(b"new"))
        assert len(moved) == 1
        assert (await asyncio.wait_for(journal.take(), 10)).id > rows[-1].id


async def test_an_id_that_was_saved_is_not_given_again(path: Path) -> None:
    sent = await filled(path, count=10)
    overwrite(path, page_of(path, sent[5].payload), random.Random(2).randbytes(4096))
    async with SqliteJournal(path) as journal:
        rows = await all_due(journal)
        await journal.settle(Settlement(rows=[row.id for row in rows]))
        await journal.put(entry(b"new"))
        assert (await asyncio.wait_for(journal.take(), 10)).id > rows[-1].id


async def test_a_salvage_that_failed_is_not_tried_again_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt may copy the whole file before the disk refuses, and each put would set one off."""
    sent = await filled(path)
    overwrite(path, page_of(path, sent[5].payload), random.Random(2).randbytes(4096))
    monkeypatch.setattr(recovery, "_SALVAGE_INTERVAL", 3600.0)
    in_the_way = path.with_name("traces.db.salvaging")
    in_the_way.mkdir()
    async with SqliteJournal(path) as journal:
        in_the_way.rmdir()
        for _ in range(3):
            with pytest.raises(Busy):
                await journal.put(entry(b"refused"))
    rows, moved = await survivors(path)
    assert_moved(path, moved)
    assert [row.entry for row in rows] == sent[:5] + sent[6:]


async def test_a_missing_table_is_damage(path: Path) -> None:
    sent = await filled(path)
    with opened_raw(path) as connection:
        connection.execute("DROP TABLE aside")
        connection.execute("DROP TABLE totals")
    rows, moved = await survivors(path)
    assert [row.entry for row in rows] == sent
    assert_moved(path, moved)


async def test_a_file_that_is_only_busy_is_not_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(path)
    monkeypatch.setattr(schema, "_BUSY_TIMEOUT", 0.01)
    with opened_raw(path) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            salvage.salvage(path)
    assert salvage.salvage(path)[1] == 200


async def test_a_journal_that_is_only_busy_refuses_what_comes_and_is_not_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sent = await filled(path, count=10)
    monkeypatch.setattr(schema, "_BUSY_TIMEOUT", 0.01)
    moved: list[Path] = []
    async with SqliteJournal(path, on_corrupt=moved.append) as journal:
        with opened_raw(path) as operator:
            operator.execute("BEGIN IMMEDIATE")
            for _ in range(3):
                with pytest.raises(Busy, match="can't be written to at the moment"):
                    await journal.put(entry(b"refused"))
        await journal.put(entry(b"new"))
        assert [row.entry for row in await all_due(journal)] == [*sent, entry(b"new")]
    assert moved == []
    assert not list(path.parent.glob("*corrupt*"))
    (line,) = [record for record in caplog.records if record.name.startswith("spanbridge")]
    assert "locked" in line.getMessage(), "the reason is told, once for all that fail within a minute"
    assert not line.exc_info


def saved_files(path: Path) -> None:
    """As a crash leaves it when the rows are saved and nothing is moved yet."""
    with closing(Database(path.with_name("traces.db.salvaging"))) as target:
        target.connection.execute("PRAGMA journal_mode = OFF")
        salvage._save(path, target, 0)
    path.with_name("traces.db.salvaging").rename(path.with_name("traces.db.salvaged"))


@pytest.mark.parametrize("cut", ["filling", "filled", "wal moved", "all moved"])
async def test_a_crash_while_rows_are_saved_loses_none_of_them(path: Path, cut: str) -> None:
    sent = await filled(path)
    overwrite(path, place_of(path, sent[50].payload) + 500, b"rotten")
    if cut == "filling":
        path.with_name("traces.db.salvaging").write_bytes(b"half a file")
    else:
        saved_files(path)
    if cut == "wal moved":
        path.with_name("traces.db-wal").write_bytes(b"")
        path.with_name("traces.db-wal").rename(path.with_name("traces.db.corrupt-20200101T000000Z-wal"))
    elif cut == "all moved":
        path.rename(path.with_name("traces.db.corrupt-20200101T000000Z"))
    rows, moved = await survivors(path)
    assert [row.entry for row in rows] == sent[:50] + sent[51:]
    assert len(moved) == 1, "the operator is told, though the damage was found in an earlier life"
    assert not path.with_name("traces.db.salvaged").exists()


# ---- a disk that refuses

FULL_DISK = """
import asyncio, json, os, resource, sys
from pathlib import Path
from spanbridge.collector.errors import Busy
from spanbridge.collector.journal import Entry, DeadLetter, Settlement
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.processors.types import Context

def room(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def put_until_busy(journal):
    done = 0
    try:
        for done in range(10**6):
            await journal.put(Entry(os.urandom(50_000), Context()))
    except Busy as busy:
        return done, busy.retry_after

async def main():
    said = {}
    async with SqliteJournal(Path(sys.argv[1]), max_ready_bytes=0) as journal:
        await journal.put(Entry(b"first", Context()))
        first = await journal.take()
        room(3_000_000)
        said["accepted"], said["retry_after"] = await put_until_busy(journal)
        said["again"], _ = await put_until_busy(journal)
        room(0)
        aside = DeadLetter(b"spans", Context(), "mlflow", "bad")
        settling = asyncio.create_task(journal.settle(Settlement(rows=[first.id], dead_letters=[aside])))
        await asyncio.wait([settling], timeout=1)
        said["settled while full"] = settling.done()
        said["rows while full"] = journal.state().rows
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await asyncio.wait_for(settling, 10)
        said["rows"], said["aside"] = journal.state().rows, journal.state().dead_letters
        await journal.put(Entry(b"last", Context()))
        rows = [await journal.take() for _ in range(journal.state().rows)]
        said["last"] = rows[-1].entry.payload.decode()
        room(0)
        lost = asyncio.create_task(journal.settle(Settlement(rows=[rows[-1].id])))
        await asyncio.sleep(0)
    try:
        await lost
    except Exception as error:
        said["lost"] = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(json.dumps(said))

asyncio.run(main())
"""


async def test_a_full_disk_is_busy_and_what_is_settled_meanwhile_is_settled_later(path: Path) -> None:
    said = json.loads(subprocess.check_output([sys.executable, "-c", FULL_DISK, path], text=True))
    accepted = said["accepted"] + said["again"]
    assert 10 < accepted < 120, "the file and its WAL may have 3 MB each, which hold 60 rows of 50 kB"
    assert said["retry_after"] == 1.0
    assert said["settled while full"] is False
    assert said["rows while full"] == 1 + accepted
    assert said["rows"] == accepted
    assert said["aside"] == 1
    assert said["last"] == "last"
    assert said["lost"] == "the journal closed before it could settle; the rows stay due"
    async with SqliteJournal(path) as journal:
        assert len(await all_due(journal)) == said["rows"] + 1


FULL_DISK_IN_USE = """
import asyncio, json, os, resource, sys
from pathlib import Path
from spanbridge.collector.errors import Busy
from spanbridge.collector.journal import Entry, Settlement
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.processors.types import Context

async def put_until_busy(journal):
    done = 0
    try:
        while True:
            await journal.put(Entry(os.urandom(50_000), Context()))
            done += 1
    except Busy:
        return done

async def main():
    async with SqliteJournal(Path(sys.argv[1])) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY))
        rounds = []
        for _ in range(4):
            rounds.append(await put_until_busy(journal))
            rows = [(await journal.take()).id for _ in range(journal.state().rows)]
            await asyncio.wait_for(journal.settle(Settlement(rows=rows)), 10)
        print(json.dumps(rounds))

asyncio.run(main())
"""


async def test_a_full_disk_goes_on_in_the_room_that_settled_rows_leave(path: Path) -> None:
    """The WAL can't grow any more, and to delete rows is to write: it has to be moved into the file for that."""
    said = subprocess.check_output([sys.executable, "-c", FULL_DISK_IN_USE, path], text=True, timeout=60)
    rounds = json.loads(said)
    assert min(rounds) >= 20, "each time about as many as the file holds"


async def test_the_last_of_the_disk_is_left_for_settling(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SqliteJournal(path) as journal:
        for _ in range(20):
            await journal.put(entry(bytes(100_000)))
        monkeypatch.setattr(worker, "_RESERVE", 1 << 60)  # no disk has so much
        with pytest.raises(Busy):
            await journal.put(entry(bytes(100_000)))
        before = path.stat().st_size
        await journal.settle(Settlement(rows=[(await journal.take()).id for _ in range(20)]))
        for _ in range(15):
            await journal.put(entry(bytes(100_000)))
        with pytest.raises(Busy):
            await asyncio.gather(*(journal.put(entry(bytes(100_000))) for _ in range(10)))
    assert path.stat().st_size <= max(before, 2_500_000), "it went on within the file it had"


DAMAGE_ON_A_FULL_DISK = """
import asyncio, json, resource, sys
from pathlib import Path
from spanbridge.collector.errors import Busy
from spanbridge.collector.journal import Entry
from spanbridge.collector.journal.sqlite import recovery
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.processors.types import Context

recovery._SALVAGE_INTERVAL = 0.2

async def main():
    said, moved = {}, []
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    async with SqliteJournal(Path(sys.argv[1]), on_corrupt=moved.append) as journal:
        taking = asyncio.create_task(journal.take())
        await asyncio.wait([taking], timeout=1)
        said["taken while full"] = taking.done()
        try:
            await journal.put(Entry(b"x", Context()))
        except Busy:
            said["busy"] = True
        said["moved while full"] = len(moved)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await asyncio.wait_for(taking, 10)
        said["rows"], said["moved"] = journal.state().rows, len(moved)
        await journal.put(Entry(b"x", Context()))
    print(json.dumps(said))

asyncio.run(main())
"""


@pytest.mark.parametrize("found", ["at the start", "by a read"])
async def test_damage_on_a_full_disk_waits_for_room_to_save_the_rows(path: Path, found: str) -> None:
    sent = await filled(path)
    place = page_of(path, sent[50].payload) if found == "at the start" else place_of(path, sent[50].payload) + 500
    overwrite(path, place, random.Random(4).randbytes(100))
    said = json.loads(subprocess.check_output([sys.executable, "-c", DAMAGE_ON_A_FULL_DISK, path], text=True))
    assert said.pop("rows") == 199
    assert said == {"taken while full": False, "busy": True, "moved while full": 0, "moved": 1}
