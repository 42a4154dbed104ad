"""The one rule that keeps the order of rows, whichever way each of them comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spanbridge.collector.journal import Entry, Row
from spanbridge.collector.journal.sqlite.ready_queue import ReadyQueue
from spanbridge.processors.types import Context


def row(id_: int, size: int = 1) -> Row:
    return Row(id_, Entry(bytes(size), Context()))


def popped(queue: ReadyQueue) -> list[int]:
    return [queue.pop().id for _ in range(len(queue))]


def caught_up(limit: int = 10, end: int = 0) -> ReadyQueue:
    queue = ReadyQueue(limit)
    queue.refill([], end)
    return queue


def test_at_the_start_the_file_may_hold_rows_that_come_first() -> None:
    queue = ReadyQueue(10)
    queue.offer(row(3))
    assert queue.behind
    assert popped(queue) == []
    queue.refill([row(1), row(2), row(3)], 3)
    queue.offer(row(4))
    assert popped(queue) == [1, 2, 3, 4]


def test_a_row_just_committed_goes_straight_on() -> None:
    queue = caught_up(end=7)
    queue.offer(row(8))
    assert not queue.behind
    assert popped(queue) == [8]


def test_past_the_limit_rows_come_from_the_file_until_it_holds_no_more() -> None:
    queue = caught_up(limit=2)
    for id_ in (1, 2, 3, 4):
        queue.offer(row(id_))
    assert popped(queue) == [1, 2]
    queue.offer(row(5))
    assert popped(queue) == []
    queue.refill([row(3)], None)
    queue.offer(row(6))
    assert popped(queue) == [3]
    queue.refill([row(4), row(5), row(6)], 6)
    assert popped(queue) == [4, 5, 6]
    queue.offer(row(7))
    assert popped(queue) == [7]


def test_a_row_that_skips_an_id_waits_for_the_one_in_between() -> None:
    queue = caught_up()
    queue.offer(row(2))  # 1 is another process's
    assert queue.behind
    queue.refill([row(1), row(2)], 2)
    assert popped(queue) == [1, 2]


def test_room_comes_back_with_each_row_taken() -> None:
    queue = caught_up(limit=10)
    for id_ in range(1, 50):
        queue.offer(row(id_, 10))
        assert popped(queue) == [id_]


@given(limit=st.integers(0, 40), steps=st.lists(st.integers(0, 3), max_size=60))
def test_every_row_comes_once_and_in_order(limit: int, steps: list[int]) -> None:
    """Commits by this process (0) and another (1), takes (2) and reads of one or more rows (3), as they may come."""
    queue, file, seen = ReadyQueue(limit), [], []
    for step in steps:
        if step in (0, 1):
            file.append(row(len(file) + 1, 5))
            if step == 0:
                queue.offer(file[-1])
            else:
                queue.behind = True
        elif step == 2 and queue:
            seen.append(queue.pop().id)
        elif step == 3 and not queue and queue.behind:
            rest = file[queue.last :]
            queue.refill(rest[:2], len(file) if len(rest) <= 2 else None)
    while queue or queue.behind:
        queue.refill(file[queue.last :], len(file))
        seen += popped(queue)
    assert seen == list(range(1, len(file) + 1))
