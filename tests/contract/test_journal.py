"""What every journal does, whatever it keeps its rows in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.collector.errors import Busy, TooLarge
from spanbridge.collector.journal import (
    REMEMBERED,
    DeadLetter,
    DeadLetterLimits,
    Entry,
    Journal,
    JournalState,
    Row,
    Settlement,
)
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


@pytest.fixture(params=["sqlite", "sqlite-from-disk"])
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> MakeJournal:
    """Makes a journal that outlives the process: what is made the second time finds what the first one left."""

    def make(**options) -> SqliteJournal:
        max_ready_bytes = 0 if request.param == "sqlite-from-disk" else 1 << 20
        return SqliteJournal(tmp_path / "journal.db", max_ready_bytes=max_ready_bytes, **options)

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


async def test_what_was_refused_is_not_there(journal: MakeJournal) -> None:
    async with journal(capacity=100) as opened:
        await opened.put(entry(bytes(90)))
        for size, refusal in ((11, Busy), (101, TooLarge)):
            with pytest.raises(refusal):
                await opened.put(entry(bytes(size)))
        assert (opened.state().rows, opened.state().bytes) == (1, 90)
        await opened.put(entry(b"after"))
        assert [row.entry.payload for row in await taken(opened, 2)] == [bytes(90), b"after"]


async def test_senders_takers_and_settlements_may_run_at_once(journal: MakeJournal) -> None:
    async with journal() as opened:

        async def sender(name: int) -> None:
            for number in range(50):
                await opened.put(entry(b"%d %d" % (name, number)))

        async def worker() -> list[bytes]:
            seen = []
            for row in [await asyncio.wait_for(opened.take(), 10) for _ in range(40)]:
                seen.append(row.entry.payload)
                await opened.settle(Settlement(rows=[row.id]))
            return seen

        *seen, _, _, _, _ = await asyncio.gather(*(worker() for _ in range(5)), *map(sender, range(4)))
        assert sorted(payload for share in seen for payload in share) == sorted(
            b"%d %d" % (name, number) for name in range(4) for number in range(50)
        )
        assert (opened.state().rows, opened.state().bytes) == (0, 0)


async def test_leaving_waits_for_what_was_begun(journal: MakeJournal) -> None:
    async with journal() as opened:
        await opened.put(entry())
        (row,) = await taken(opened, 1)
        begun = [
            *(asyncio.create_task(opened.put(entry(b"%d" % number))) for number in range(20)),
            asyncio.create_task(opened.settle(Settlement(rows=[row.id]))),
        ]
        await asyncio.sleep(0)
    assert await asyncio.gather(*begun) == [None] * 21
    assert opened.state().rows == 20


async def test_settling_what_is_gone_is_no_error(journal: MakeJournal) -> None:
    async with journal() as opened:
        await opened.put(entry())
        (row,) = await taken(opened, 1)
        gone = Settlement(rows=[row.id, 12345], parts={row.id: [bytes(16)], 777: [bytes(16)]})
        await asyncio.gather(opened.settle(gone), opened.settle(gone))
        assert (opened.state().rows, opened.state().bytes) == (0, 0)
        await opened.settle(Settlement())


@pytest.mark.parametrize("length", [8, 17])
async def test_a_trace_id_of_another_length_is_refused(journal: MakeJournal, length: int) -> None:
    async with journal() as opened:
        await opened.put(entry())
        (row,) = await taken(opened, 1)
        for settlement in (
            Settlement(parts={row.id: [bytes(16), bytes(length)]}),
            Settlement(released={bytes(length): ""}),
        ):
            with pytest.raises(ValueError, match="16 bytes"):
                await opened.settle(settlement)
        assert opened.state().rows == 1


async def test_a_row_whose_parts_are_settled_stays_due(journal: MakeJournal) -> None:
    async with journal() as opened:
        await opened.put(entry())
        (row,) = await taken(opened, 1)
        await opened.settle(Settlement(parts={row.id: [bytes(16), b"x" * 16]}))
        assert opened.state().rows == 1
        await opened.settle(Settlement(rows=[row.id]))
        assert opened.state().rows == 0


async def test_what_is_set_aside_is_kept_once_and_takes_room(journal: MakeJournal) -> None:
    aside = DeadLetter(bytes(80), Context(), "mlflow", "why")
    async with journal(capacity=100) as opened:
        await opened.put(entry(bytes(90)))
        (row,) = await taken(opened, 1)
        await opened.settle(Settlement(dead_letters=[aside, aside]))  # over the capacity: it is never refused
        assert opened.state().bytes == 170
        await opened.settle(Settlement(rows=[row.id], dead_letters=[aside]))
        assert opened.state().bytes == 80
        assert opened.state().dead_letters == 1
        with pytest.raises(Busy):
            await opened.put(entry(bytes(21)))
        await opened.put(entry(bytes(20)))


async def test_what_two_exporters_set_aside_are_two(journal: MakeJournal) -> None:
    both = [DeadLetter(b"spans", Context(), exporter, "why") for exporter in ("mlflow/a", "mlflow/b")]
    async with journal() as opened:
        await opened.settle(Settlement(dead_letters=both))
        assert opened.state().dead_letters == 2


@pytest.mark.parametrize("limits", [DeadLetterLimits(bytes=10_000, rows=3), DeadLetterLimits(bytes=250, rows=100)])
async def test_the_oldest_that_is_set_aside_goes_for_the_latest_and_is_told(
    journal: MakeJournal, limits: DeadLetterLimits
) -> None:
    dropped: list[int] = []
    async with journal(dead_letter_limits=limits, on_dropped=dropped.append) as opened:
        for number in range(5):
            batch = DeadLetter(b"%d" % number * 80, Context(), "mlflow", "why")
            await opened.settle(Settlement(dead_letters=[batch, batch]))
        assert (opened.state().dead_letters, opened.state().bytes) == (3, 240)
        assert sum(dropped) == 2
        larger = DeadLetter(bytes(20_000), Context(), "mlflow", "larger than all others")
        await opened.settle(Settlement(dead_letters=[larger]))
        assert (opened.state().dead_letters, opened.state().bytes) == (1, 20_000), "the latest stays"
        assert sum(dropped) == 5


async def test_state_tells_rows_and_the_age_of_the_oldest(journal: MakeJournal) -> None:
    now = 1000.0
    async with journal(capacity=100, clock=lambda: now) as opened:
        assert opened.state() == JournalState(bytes=0, capacity=100, rows=0, oldest_age=0.0, dead_letters=0)
        await opened.put(entry(b"1"))
        now += 5
        await opened.put(entry(b"22"))
        now += 1
        assert opened.state() == JournalState(bytes=3, capacity=100, rows=2, oldest_age=6.0, dead_letters=0)
        (first, _) = await taken(opened, 2)
        assert opened.state().rows == 2
        await opened.settle(Settlement(rows=[first.id]))
        assert opened.state().oldest_age == 1.0
        now -= 100  # a clock that was set back makes no row younger than nothing
        assert opened.state().oldest_age == 0.0


async def test_nothing_was_released_before_the_first_start(journal: MakeJournal) -> None:
    async with journal() as opened:
        await opened.settle(Settlement(released={bytes(16): "sampled"}))
        assert opened.released() == {}, "what this process has released it knows itself"


async def test_after_a_restart_all_that_was_not_settled_is_due_again(durable: MakeJournal) -> None:
    traces = [bytes([number]) * 16 for number in range(1, 4)]
    async with durable() as opened:
        for number in range(5):
            await opened.put(entry(b"%d" % number, tenant="a"))
        rows = await taken(opened, 4)
        await opened.settle(Settlement(rows=[rows[1].id], parts={rows[0].id: traces[:2], rows[2].id: traces[:1]}))
        await opened.settle(Settlement(parts={rows[0].id: traces[1:]}))
    async with durable() as opened:
        assert opened.state().rows == 4
        again = await taken(opened, 4)
        await opened.put(entry(b"5"))
        (new,) = await taken(opened, 1)
    assert [row.entry for row in again] == [entry(b"%d" % number, tenant="a") for number in (0, 2, 3, 4)]
    assert [row.id for row in again[:3]] == [rows[0].id, rows[2].id, rows[3].id], "a row keeps its id"
    assert [row.settled for row in again] == [set(traces), set(traces[:1]), set(), set()]
    assert new.id > again[-1].id


async def test_an_id_is_never_given_twice(durable: MakeJournal) -> None:
    """Settling what is gone is no error, so it must not be another row by then."""
    async with durable() as opened:
        await opened.put(entry())
        (first,) = await taken(opened, 1)
        await opened.settle(Settlement(rows=[first.id]))
    async with durable() as opened:
        await opened.put(entry())
        (second,) = await taken(opened, 1)
        await opened.settle(Settlement(rows=[first.id]))
        assert opened.state().rows == 1
    assert second.id > first.id


async def test_after_a_restart_it_is_known_what_was_released(durable: MakeJournal) -> None:
    a, b, c = (bytes([number]) * 16 for number in range(1, 4))
    async with durable() as opened:
        await opened.settle(Settlement(released={a: "dropped", b: "sampled"}))
        await opened.settle(Settlement(released={c: "", a: "sampled"}))
    async with durable() as opened:
        assert list(opened.released().items()) == [(b, "sampled"), (c, ""), (a, "sampled")]


async def test_the_latest_that_were_released_are_remembered(durable: MakeJournal) -> None:
    traces = [number.to_bytes(16) for number in range(REMEMBERED + 5)]
    async with durable() as opened:
        await opened.settle(Settlement(released=dict.fromkeys(traces, "sampled")))
    async with durable() as opened:
        assert list(opened.released()) == traces[5:]


async def test_after_a_restart_the_state_is_what_it_was(durable: MakeJournal) -> None:
    now = 1000.0
    async with durable(capacity=100, clock=lambda: now) as opened:
        await opened.put(entry(b"row"))
        await opened.settle(Settlement(dead_letters=[DeadLetter(b"spans", Context(), "mlflow", "why")]))
    now += 60
    async with durable(capacity=100, clock=lambda: now) as opened:
        assert opened.state() == JournalState(bytes=8, capacity=100, rows=1, oldest_age=60.0, dead_letters=1)
        with pytest.raises(Busy):
            await opened.put(entry(bytes(93)))


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
