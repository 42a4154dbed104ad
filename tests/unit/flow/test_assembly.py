"""The assembly's rules of time and order, on a clock of plain numbers."""

import pytest

from spanbridge.collector.flow.assembly import Assembly, AssemblyLimits
from spanbridge.collector.flow.fragments import Fragment, fragments
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.journal import Entry, Row
from spanbridge.processors.types import Batch, Context, Logs, span_count, spans
from tests.samples.spans import add_span, new_id, trace_batch

LIMITS = AssemblyLimits(wait_duration=30, wait_duration_after_root_received=1)


def row(number, batch, **context):
    return Row(number, Entry(batch.SerializeToString(), Context(**context)))


def add(assembly, number, batch, now, **context):
    made = row(number, batch, **context)
    assembly.add(made, fragments(made), now)


def child_of(trace_id, name="child"):
    batch = Batch()
    add_span(batch, trace_id, name, parent=new_id())
    return batch


def test_children_first_root_last_leave_as_one_trace_a_second_after_the_root():
    assembly, trace_id = Assembly(LIMITS), new_id(16)
    for number, now in enumerate((0.0, 5.0, 9.0)):
        add(assembly, number, child_of(trace_id), now)
    add(assembly, 3, trace_batch(trace_id, 1), 10.0)

    assert list(assembly.due(10.9)) == []
    [pending] = assembly.due(11.0)

    assert (pending.cause, pending.spans, pending.account.rows) == ("root", 4, [0, 1, 2, 3])
    assert span_count(pending.decode().batch) == 4
    assert len(assembly) == assembly.spans == assembly.size == 0


def test_what_comes_after_the_root_puts_the_release_off():
    assembly, trace_id = Assembly(LIMITS), new_id(16)
    add(assembly, 1, trace_batch(trace_id, 1), 0.0)
    add(assembly, 2, child_of(trace_id), 0.9)

    assert list(assembly.due(1.0)) == []
    assert [pending.spans for pending in assembly.due(1.9)] == [2]


def test_a_root_that_never_comes_is_not_waited_for_longer_than_wait_duration():
    assembly, trace_id = Assembly(LIMITS), new_id(16)
    for now in (0.0, 15.0, 29.0):
        add(assembly, int(now), child_of(trace_id), now)

    assert list(assembly.due(29.9)) == []
    [pending] = assembly.due(30.0)
    assert (pending.cause, pending.decode().root) == ("wait", None)


def test_a_late_span_is_known_as_late_and_does_not_wait_for_a_root():
    assembly, trace_id = Assembly(LIMITS), new_id(16)
    add(assembly, 1, trace_batch(trace_id, 1), 0.0)
    [first] = assembly.due(1.0)
    assembly.done(first.trace_id)
    add(assembly, 2, child_of(trace_id), 5.0)

    [late] = assembly.due(6.0)
    assert (late.cause, late.decode().late, first.decode().late) == ("late", True, False)


def test_the_order_of_a_trace_is_kept_while_a_part_of_it_is_with_delivery():
    assembly, trace_id = Assembly(LIMITS), new_id(16)
    add(assembly, 1, trace_batch(trace_id, 1), 0.0)
    [first] = assembly.due(1.0)
    add(assembly, 2, child_of(trace_id), 2.0)

    assert list(assembly.due(100.0)) == []
    assert list(assembly.drain()) == []
    assembly.done(first.trace_id)
    assert [pending.account.rows for pending in assembly.due(100.0)] == [[2]]


def test_beyond_num_traces_the_oldest_leaves_early():
    assembly = Assembly(AssemblyLimits(num_traces=2))
    ids = [new_id(16) for _ in range(3)]
    for number, trace_id in enumerate(ids):
        add(assembly, number, child_of(trace_id), float(number))

    assert [(pending.trace_id, pending.cause) for pending in assembly.due(3.0)] == [(ids[0], "evicted")]


def test_spans_beyond_the_cap_of_a_trace_are_dropped_but_the_root_is_not():
    assembly, trace_id = (
        Assembly(AssemblyLimits(wait_duration_after_root_received=1, maximum_trace_spans=5)),
        new_id(16),
    )
    for number in range(12):
        add(assembly, number, child_of(trace_id), 0.0)
    add(assembly, 12, trace_batch(trace_id, 1), 0.0)

    [pending] = assembly.due(1.0)
    assert (pending.spans, pending.dropped, pending.account.rows) == (6, 7, list(range(13)))
    assert pending.decode().root is not None
    assert assembly.size == assembly.spans == 0


def test_a_request_beyond_the_cap_is_cut_and_log_records_are_not():
    trace_id = new_id(16)
    batch = Batch()
    for number in range(10):
        add_span(batch, trace_id, f"child {number}", parent=new_id())
    assembly = Assembly(AssemblyLimits(wait_duration=1, maximum_trace_spans=4))
    add(assembly, 1, batch, 0.0)
    add(assembly, 2, batch, 0.0)
    assembly.add(
        Row(3, Entry(logs_of(trace_id), Context(), "logs")), [Fragment(trace_id, logs_of(trace_id), is_log=True)], 0.0
    )

    [pending] = assembly.due(1.0)
    assert (pending.spans, pending.dropped, pending.account.rows) == (4, 16, [1, 2, 3])
    assert [span.name for span in spans(pending.decode().batch)] == ["child 0", "child 1", "child 2", "child 3"]
    assert len(pending.decode().logs.resource_logs) == 1


def test_a_cap_in_bytes_keeps_what_fits_and_the_root():
    trace_id = new_id(16)
    batch = trace_batch(trace_id, 50)
    size = next(spans(batch)).ByteSize()
    assembly = Assembly(AssemblyLimits(maximum_trace_size_bytes=10 * size))
    add(assembly, 1, batch, 0.0)

    [pending] = assembly.due(30.0)
    names = [span.name for span in spans(pending.decode().batch)]
    assert 8 <= len(names) <= 11
    assert names[-1] == "root"
    assert pending.spans + pending.dropped == 50


def test_spans_that_came_twice_are_there_once_as_they_came_last():
    trace_id = new_id(16)
    first, again = trace_batch(trace_id, 3), Batch()
    again.CopyFrom(first)
    next(spans(again)).name = "changed"
    assembly = Assembly(LIMITS)
    add(assembly, 1, first, 0.0)
    add(assembly, 2, again, 0.0)

    [pending] = assembly.due(1.0)
    assert sorted(span.name for span in spans(pending.decode().batch)) == ["changed", "child 1", "root"]


def logs_of(trace_id):
    logs = Logs()
    logs.resource_logs.add().scope_logs.add().log_records.add(trace_id=trace_id)
    return logs.SerializeToString()


def test_spans_are_not_late_because_log_records_came_long_before():
    trace_id = new_id(16)
    assembly = Assembly(LIMITS)
    made = Row(1, Entry(logs_of(trace_id), Context(), "logs"))
    assembly.add(made, fragments(made), 0.0)
    [alone] = assembly.due(30.0)
    assembly.done(alone.trace_id)
    add(assembly, 2, trace_batch(trace_id, 2), 31.0)

    assert [pending.cause for pending in assembly.due(32.0)] == ["root"]


def test_where_nothing_goes_early_no_more_than_num_traces_are_taken_in():
    assembly = Assembly(AssemblyLimits(num_traces=2, block_on_overflow=True))
    for number in range(3):
        assert assembly.full == (number == 2)
        add(assembly, number, child_of(new_id(16)), 0.0)

    assert assembly.evict() is None
    assert list(assembly.due(29.0)) == []
    assert len(list(assembly.due(30.0))) == 3


def test_overdue_leaves_the_trace_where_it_is():
    assembly, trace_id = Assembly(LIMITS), new_id(16)
    add(assembly, 1, trace_batch(trace_id, 1), 0.0)
    add(assembly, 2, child_of(trace_id), 0.5)

    assert assembly.overdue(1.4) is None
    assert assembly.overdue(1.5).trace_id == trace_id
    assert [pending.trace_id for pending in assembly.due(1.5)] == [trace_id]
    assert assembly.overdue(100.0) is None


def test_without_a_wait_after_the_root_the_whole_wait_is_waited():
    assembly = Assembly(AssemblyLimits(wait_duration=30, wait_duration_after_root_received=None))
    add(assembly, 1, trace_batch(size=2), 0.0)
    assert list(assembly.due(29.9)) == []
    assert [pending.cause for pending in assembly.due(30)] == ["wait"]


def test_what_is_remembered_from_before_a_restart_is_late():
    trace_id = new_id(16)
    assembly = Assembly(LIMITS, ReleasedTraces({trace_id: ""}))
    add(assembly, 1, child_of(trace_id), 0.0)
    assert [pending.late for pending in assembly.due(1.0)] == [True]


def test_one_request_of_many_traces_is_taken_apart_and_the_context_of_the_root_counts():
    one, two = new_id(16), new_id(16)
    batch = trace_batch(one, 3)
    batch.MergeFrom(child_of(two))
    assembly = Assembly(LIMITS)
    add(assembly, 1, batch, 0.0, experiment_name="first")
    add(assembly, 2, trace_batch(two, 1), 0.0, experiment_name="second")

    found = {pending.trace_id: pending for pending in assembly.due(1.0)}
    assert {key: pending.context.experiment_name for key, pending in found.items()} == {one: "first", two: "second"}
    assert {span.trace_id for span in spans(found[two].decode().batch)} == {two}


def test_settled_traces_of_a_row_are_skipped():
    one, two = trace_batch(), trace_batch()
    settled = one.resource_spans[0].scope_spans[0].spans[0].trace_id
    one.MergeFrom(two)
    made = Row(1, Entry(one.SerializeToString(), Context()), frozenset([settled]))
    assert [fragment.trace_id for fragment in fragments(made)] == [
        two.resource_spans[0].scope_spans[0].spans[0].trace_id
    ]


@pytest.mark.parametrize("count", [1, 4])
def test_drain_hands_on_everything(count):
    assembly = Assembly(LIMITS)
    for number in range(count):
        add(assembly, number, child_of(new_id(16)), 0.0)
    assert [pending.cause for pending in assembly.drain()] == ["shutdown"] * count
