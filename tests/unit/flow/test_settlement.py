"""What has to happen until a row of the journal may go."""

import asyncio
from contextlib import asynccontextmanager

from spanbridge.collector.flow.settlement import OpenRows, SettlementAccount
from spanbridge.collector.journal import DeadLetter, Entry
from spanbridge.collector.journal.memory import MemoryJournal
from spanbridge.processors.types import Context
from tests.polling import until

ONE, OTHER = b"1" * 16, b"2" * 16
LETTER = DeadLetter(b"spans", Context(), "mlflow", "refused")


@asynccontextmanager
async def settling(rows=1):
    """A journal of so many rows, all of them taken, and what settles them."""
    journal = MemoryJournal()
    for _ in range(rows):
        await journal.put(Entry(b"payload", Context()))
        await journal.take()
    open_rows = OpenRows(journal)
    task = asyncio.create_task(open_rows.run())
    yield journal, open_rows
    task.cancel()


async def test_a_row_goes_with_the_last_of_its_traces():
    async with settling() as (journal, open_rows):
        open_rows.add(1, [ONE, OTHER])
        open_rows.settle(SettlementAccount(ONE, [1]))
        await until(lambda: open_rows.idle)
        assert (journal.state().rows, open_rows.count) == (1, 1)
        open_rows.settle(SettlementAccount(OTHER, [1]))
        await until(lambda: open_rows.idle)
        assert (journal.state().rows, open_rows.count) == (0, 0)


async def test_a_trace_is_settled_in_all_of_its_rows_and_in_no_other():
    async with settling(rows=3) as (journal, open_rows):
        for row in (1, 2, 3):
            open_rows.add(row, [ONE])
        open_rows.settle(SettlementAccount(ONE, [1, 3]))
        await until(lambda: open_rows.idle)
        assert journal.state().rows == 1


async def test_a_row_without_traces_is_done_at_once():
    async with settling() as (journal, open_rows):
        open_rows.add(1, [])
        await until(lambda: not journal.state().rows)


async def test_what_can_not_be_read_is_kept_for_an_operator():
    async with settling() as (journal, open_rows):
        open_rows.refuse(1, LETTER)
        await until(lambda: open_rows.idle)
        assert (journal.state().rows, journal.state().dead_letters, open_rows.count) == (0, 1, 0)


async def test_dead_letters_are_committed_with_the_row():
    async with settling() as (journal, open_rows):
        open_rows.add(1, [ONE])
        open_rows.settle(SettlementAccount(ONE, [1], dead_letters=[LETTER]))
        assert journal.state().dead_letters == 0
        await until(lambda: not journal.state().rows)
        assert journal.state().dead_letters == 1


def test_a_trace_is_settled_with_the_last_of_its_parts():
    account = SettlementAccount(ONE)
    account.hand_on(size=100, parts=2)
    assert not account.settle_part()
    account.divide()
    assert not account.settle_part(LETTER)
    assert account.settle_part()
    assert list(account.dead_letters) == [LETTER]
