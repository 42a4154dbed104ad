"""The one rule that keeps the order of rows, whichever way each of them comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spanbridge.collector.journal import Entry, Row
from spanbridge.collector.journal.sqlite.handoff import Handoff
from spanbridge.processors.types import Context


def row(id_: int, size: int = 1) -> Row:
    return Row(id_, Entry(bytes(size), Context()))


def popped(handoff: Handoff) -> list[int]:
    return [handoff.pop().id for _ in range(len(handoff))]


def caught_up(limit: int = 10, end: int = 0) -> Handoff:
    handoff = Handoff(limit)
    handoff.load([], end)
    return handoff


def test_at_the_start_the_file_may_hold_rows_that_come_first() -> None:
    handoff = Handoff(10)
    handoff.offer(row(3))
    assert handoff.behind
    assert popped(handoff) == []
    handoff.load([row(1), row(2), row(3)], 3)
    handoff.offer(row(4))
    assert popped(handoff) == [1, 2, 3, 4]


def test_a_row_just_committed_goes_straight_on() -> None:
    handoff = caught_up(end=7)
    handoff.offer(row(8))
    assert not handoff.behind
    assert popped(handoff) == [8]


def test_past_the_limit_rows_come_from_the_file_until_it_holds_no_more() -> None:
    handoff = caught_up(limit=2)
    for id_ in (1, 2, 3, 4):
        handoff.offer(row(id_))
    assert popped(handoff) == [1, 2]
    handoff.offer(row(5))
    assert popped(handoff) == []
    handoff.load([row(3)], None)
    handoff.offer(row(6))
    assert popped(handoff) == [3]
    handoff.load([row(4), row(5), row(6)], 6)
    assert popped(handoff) == [4, 5, 6]
    handoff.offer(row(7))
    assert popped(handoff) == [7]


def test_a_row_that_skips_an_id_waits_for_the_one_in_between() -> None:
    handoff = caught_up()
    handoff.offer(row(2))  # 1 is another process's
    assert handoff.behind
    handoff.load([row(1), row(2)], 2)
    assert popped(handoff) == [1, 2]


def test_room_comes_back_with_each_row_taken() -> None:
    handoff = caught_up(limit=10)
    for id_ in range(1, 50):
        handoff.offer(row(id_, 10))
        assert popped(handoff) == [id_]


@given(limit=st.integers(0, 40), steps=st.lists(st.integers(0, 3), max_size=60))
def test_every_row_comes_once_and_in_order(limit: int, steps: list[int]) -> None:
    """Commits by this process (0) and another (1), takes (2) and reads of one or more rows (3), as they may come."""
    handoff, file, seen = Handoff(limit), [], []
    for step in steps:
        if step in (0, 1):
            file.append(row(len(file) + 1, 5))
            if step == 0:
                handoff.offer(file[-1])
            else:
                handoff.behind = True
        elif step == 2 and handoff:
            seen.append(handoff.pop().id)
        elif step == 3 and not handoff and handoff.behind:
            rest = file[handoff.last :]
            handoff.load(rest[:2], len(file) if len(rest) <= 2 else None)
    while handoff or handoff.behind:
        handoff.load(file[handoff.last :], len(file))
        seen += popped(handoff)
    assert seen == list(range(1, len(file) + 1))
