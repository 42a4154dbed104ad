"""What every journal does, whatever it keeps its rows in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.collector.errors import Busy, TooLarge
from spanbridge.collector.journal import AsideLimits, Entry, Journal, JournalState, Row, SetAside, Settlement
from spanbridge.collector.journal.context import dump, load
from spanbridge.collector.journal.memory import MemoryJournal
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.processors.types import Context
from tests.samples.strategies import contexts

MakeJournal = Callable[..., SqliteJournal | MemoryJournal]


@pytest.fixture(params=["memory", "sqlite", "sqlite-from-disk"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> MakeJournal:
    """Makes a journal; `sqlite-from-disk` hands nothing on in memory, so that every row is read back."""

    def make(capacity: int = 1 << 20, **options) -> SqliteJournal | MemoryJournal:
        if request.param == "memory":
            return MemoryJournal(capacity, **options)
        max_ready_bytes = 0 if request.param == "sqlite-from-disk" else 1 << 20
        return SqliteJournal(tmp_path / "journal.db", capacity=capacity, max_ready_bytes=max_ready_bytes, **options)

    return make


def entry(payload: bytes = b"payload", **context: str) -> Entry:
    return Entry(payload, Context(**context))


async def taken(journal: Journal, count: int) -> list[Row]:
    return [await asyncio.wait_for(journal.take(), 10) for _ in range(count)]


async def test_what_is_put_is_taken_whole(journal: MakeJournal) -> None:
    sent = [
        entry(b"\0\xff" * 50, tenant="a", experiment_name="Größe\n"),
        Entry(b"", Context(), "logs"),
        entry(b"x"),
    ]
    async with journal() as opened:
        for item in sent:
            await opened.put(item)
        rows = await taken(opened, 3)
    assert [row.entry for row in rows] == sent
    assert [row.settled for row in rows] == [frozenset()] * 3


async def test_rows_come_in_the_order_of_ids_each_once_to_one_taker(journal: MakeJournal) -> None:
    sent = [b"%d" % number for number in range(300)]
    async with journal() as opened:
        takers = [asyncio.create_task(taken(opened, 100)) for _ in range(3)]
        await asyncio.gather(*(opened.put(entry(payload)) for payload in sent))
        shares = await asyncio.gather(*takers)
    ids = [row.id for share in shares for row in share]
    assert len(set(ids)) == 300
    assert all(share == sorted(share, key=lambda row: row.id) for share in shares)
    assert sorted(row.entry.payload for share in shares for row in share) == sorted(sent)


async def test_put_one_after_the_other_is_taken_in_that_order(journal: MakeJournal) -> None:
    async with journal() as opened:
        for number in range(20):
            await opened.put(entry(b"%d" % number))
        rows = await taken(opened, 10)
        await opened.put(entry(b"20"))
        rows += await taken(opened, 11)
    assert [int(row.entry.payload) for row in rows] == list(range(21))
    assert [row.id for row in rows] == sorted({row.id for row in rows})


async def test_take_waits_for_a_row(journal: MakeJournal) -> None:
    async with journal() as opened:
        waiting = asyncio.create_task(opened.take())
        await opened.put(entry(b"here"))
        assert (await asyncio.wait_for(waiting, 10)).entry.payload == b"here"


async def test_a_take_that_is_cancelled_takes_nothing(journal: MakeJournal) -> None:
    async with journal() as opened:
        waiting = asyncio.create_task(opened.take())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await opened.put(entry(b"still here"))
        assert (await taken(opened, 1))[0].entry.payload == b"still here"


async def test_a_put_that_is_cancelled_counts_right(journal: MakeJournal) -> None:
    async with journal(capacity=20) as opened:
        leaving = asyncio.create_task(opened.put(entry(b"x" * 20)))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        (row,) = await taken(opened, 1)
        await opened.settle(Settlement(rows=[row.id]))
        await opened.put(entry(b"y" * 20))
        assert opened.state().bytes == 20


async def test_a_full_journal_is_busy_until_rows_are_settled(journal: MakeJournal) -> None:
    context = Context(tenant="team")
    size = 100 + len(dump(context))
    async with journal(capacity=2 * size) as opened:
        for _ in range(2):
            await opened.put(Entry(bytes(100), context))
        with pytest.raises(Busy) as busy:
            await opened.put(entry(b"x"))
        assert busy.value.retry_after == 1.0
        assert opened.state().bytes == opened.state().capacity == 2 * size
        (row, _) = await taken(opened, 2)
        await opened.settle(Settlement(rows=[row.id]))
        await opened.put(Entry(bytes(100), context))


async def test_entries_on_their_way_count_against_the_capacity(journal: MakeJournal) -> None:
    async with journal(capacity=1000) as opened:
        results = await asyncio.gather(*(opened.put(entry(bytes(100))) for _ in range(30)), return_exceptions=True)
        assert [type(result) for result in results] == [type(None)] * 10 + [Busy] * 20
        assert opened.state().bytes == 1000


async def test_an_entry_that_never_fits_is_too_large(journal: MakeJournal) -> None:
    async with journal(capacity=100) as opened:
        with pytest.raises(TooLarge):
            await opened.put(entry(bytes(101)))
        await opened.put(entry(bytes(100)))


async def test_settling_what_is_gone_is_no_error(journal: MakeJournal) -> None:
    async with journal() as opened:
        await opened.put(entry())
        (row,) = await taken(opened, 1)
        gone = Settlement(rows=[row.id, 12345], parts={row.id: [bytes(16)], 777: [bytes(16)]})
        await asyncio.gather(opened.settle(gone), opened.settle(gone))
        assert (opened.state().rows, opened.state().bytes) == (0, 0)
        await opened.settle(Settlement())


async def test_a_row_whose_parts_are_settled_stays_due(journal: MakeJournal) -> None:
    async with journal() as opened:
        await opened.put(entry())
        (row,) = await taken(opened, 1)
        await opened.settle(Settlement(parts={row.id: [bytes(16), b"x" * 16]}))
        assert opened.state().rows == 1
        await opened.settle(Settlement(rows=[row.id]))
        assert opened.state().rows == 0


async def test_what_is_set_aside_is_kept_once_and_takes_room(journal: MakeJournal) -> None:
    aside = SetAside(bytes(80), Context(), "mlflow", "why")
    async with journal(capacity=100) as opened:
        await opened.put(entry(bytes(90)))
        (row,) = await taken(opened, 1)
        await opened.settle(Settlement(aside=[aside, aside]))  # over the capacity: it is never refused
        assert opened.state().bytes == 170
        await opened.settle(Settlement(rows=[row.id], aside=[aside]))
        assert opened.state().bytes == 80
        assert opened.state().aside == 1
        with pytest.raises(Busy):
            await opened.put(entry(bytes(21)))
        await opened.put(entry(bytes(20)))


@pytest.mark.parametrize("limits", [AsideLimits(bytes=10_000, rows=3), AsideLimits(bytes=250, rows=100)])
async def test_the_oldest_that_is_set_aside_goes_for_the_latest_and_is_told(
    journal: MakeJournal, limits: AsideLimits
) -> None:
    dropped: list[int] = []
    async with journal(aside=limits, on_dropped=dropped.append) as opened:
        for number in range(5):
            batch = SetAside(b"%d" % number * 80, Context(), "mlflow", "why")
            await opened.settle(Settlement(aside=[batch, batch]))
        assert (opened.state().aside, opened.state().bytes) == (3, 240)
        assert sum(dropped) == 2
        await opened.settle(Settlement(aside=[SetAside(bytes(20_000), Context(), "mlflow", "larger than all")]))
        assert (opened.state().aside, opened.state().bytes) == (1, 20_000), "the latest stays"
        assert sum(dropped) == 5


async def test_state_tells_rows_and_the_age_of_the_oldest(journal: MakeJournal) -> None:
    now = 1000.0
    async with journal(capacity=100, clock=lambda: now) as opened:
        assert opened.state() == JournalState(bytes=0, capacity=100, rows=0, oldest_age=0.0, aside=0)
        await opened.put(entry(b"1"))
        now += 5
        await opened.put(entry(b"22"))
        now += 1
        assert opened.state() == JournalState(bytes=3, capacity=100, rows=2, oldest_age=6.0, aside=0)
        (first, _) = await taken(opened, 2)
        assert opened.state().rows == 2
        await opened.settle(Settlement(rows=[first.id]))
        assert opened.state().oldest_age == 1.0
        now -= 100  # a clock that was set back makes no row younger than nothing
        assert opened.state().oldest_age == 0.0


@given(contexts())
def test_a_context_comes_back_as_it_went(context: Context) -> None:
    assert load(dump(context)) == context


@given(contexts(), st.dictionaries(st.sampled_from(["region", "priority"]), st.text(max_size=3)))
def test_a_context_of_a_newer_version_can_be_read(context: Context, unknown: dict[str, str]) -> None:
    import orjson  # noqa: PLC0415  only this test writes what a newer version would

    newer = orjson.loads(dump(context) or b"{}") | unknown
    assert load(orjson.dumps(newer)) == context


def test_a_context_without_fields_takes_no_bytes() -> None:
    assert dump(Context()) == b""
