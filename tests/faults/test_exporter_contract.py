"""Every exporter, through the real journal, flow and delivery, to a destination that fails in every way there is."""

from __future__ import annotations

import random

import pytest

from spanbridge.processors.types import Batch
from tests.faults.support.downstreams import DOWNSTREAMS, Downstream, weighted
from tests.faults.support.flow import flowing
from tests.faults.support.sizes import SEED, TRACES
from tests.polling import until
from tests.samples.spans import add_span, new_id, trace_batch

BEHAVIOURS = {
    "ok": {},
    "random retryable": {"refuse_for_now": 0.4},
    "random permanent": {"refuse": 0.3},
    "answers lost": {"take_and_deny": 0.3},
    "hanging": {"hang": 0.1},
    "mixed": {"refuse_for_now": 0.2, "refuse": 0.1, "take_and_deny": 0.1, "hang": 0.05},
}


@pytest.fixture(params=DOWNSTREAMS)
def downstream(request):
    return DOWNSTREAMS[request.param]


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_nothing_is_lost_and_nothing_comes_twice_but_by_upsert(downstream, behaviour, tmp_path):
    dice, there = random.Random(SEED), Downstream(weighted(SEED, **BEHAVIOURS[behaviour]))
    async with downstream(there) as exporter, flowing(tmp_path, exporter) as ground:
        for number in range(TRACES):
            await ground.put(trace_batch(size=dice.randint(1, 6), name=f"root {number}"))
        await until(ground.settled, seconds=60, what="settlement of everything")

    taken, aside = set(there.taken), ground.journal.aside_ids()
    assert taken | aside == ground.acknowledged
    if not ({"refuse"} & set(there.done)):
        assert not aside
    if not ({"take and deny", "hang"} & set(there.done)):
        assert max(there.taken.values()) == 1
        assert not taken & aside
    assert set(there.done) >= {name.replace("_", " ") for name in BEHAVIOURS[behaviour]}, "a fault was never felt"


@pytest.mark.parametrize("behaviour", ["ok", "random retryable", "answers lost", "hanging"])
async def test_the_parts_of_a_trace_arrive_in_the_order_in_which_they_were_sent(downstream, behaviour, tmp_path):
    there = Downstream(weighted(SEED, **BEHAVIOURS[behaviour]))
    trace_ids = [new_id(16) for _ in range(TRACES // 4)]
    async with downstream(there) as exporter, flowing(tmp_path, exporter) as ground:
        for part in range(4):
            for trace_id in trace_ids:
                batch = Batch()
                add_span(batch, trace_id, f"part {part}", parent=new_id() if part else b"")
                await ground.put(batch)
        await until(ground.settled, seconds=60, what="settlement of everything")

    expected = [f"part {part}" for part in range(4)]
    assert [there.first[trace_id] for trace_id in trace_ids] == [expected] * len(trace_ids)


async def test_a_downstream_that_refuses_one_span_for_good_costs_that_span_alone(downstream, tmp_path):
    bad = new_id(16)
    there = Downstream(refuses=bad)
    async with downstream(there) as exporter, flowing(tmp_path, exporter) as ground:
        await ground.put(trace_batch(bad, size=1))
        while not ground.journal.aside:
            await ground.put(trace_batch())
            await until(lambda: ground.journal.state().rows < 20)
        await until(ground.settled)

    assert {trace_id for trace_id, _ in ground.journal.aside_ids()} == {bad}
    assert set(there.taken) | ground.journal.aside_ids() == ground.acknowledged
    assert not set(there.taken) & ground.journal.aside_ids()
