"""What a kill leaves at any moment is enough to go on: no trace that must be kept is lost, none is there by halves.

A kill is a copy of the journal's files, taken while they are written to: the WAL only grows here, so that a copy is
what a process that died at that moment would have left.
"""

import asyncio
import random
import shutil
import time

import pytest

from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.processors.tail_sampling import TailSampler, TailSamplingConfig
from spanbridge.processors.types import Batch, Context, spans
from tests.flows import Shelf, running
from tests.samples.sampling_traffic import POLICIES, Sent, must_be_kept, wave

SAMPLING = {"decision_wait": "2s", "decision_wait_after_root_received": "0.4s", "policies": POLICIES}
KILLS = 25


class Kill:
    """The journal, what was acknowledged, and what the destination has, as of one moment."""

    def __init__(self, journal, folder, acknowledged, shelf):
        self.acknowledged = set(acknowledged)  # before the copy: what is in it may be more
        folder.mkdir()
        self.path = folder / "journal.db"
        for suffix in ("", "-wal"):
            file = journal.with_name(journal.name + suffix)
            if file.exists():
                shutil.copyfile(file, self.path.with_name(self.path.name + suffix))
        self.shelf = Shelf()  # after it: what was settled was delivered before
        self.shelf.traces = list(shelf.traces)
        self.delivered = {trace.trace_id for trace in shelf.traces}


async def send(flow, requests, numbers, acknowledged, chance):
    for number in numbers:
        await flow.head.accept(copy(requests[number]), Context())
        acknowledged.add(number)
        await asyncio.sleep(chance.uniform(0, 0.02))


def copy(batch):
    return Batch.FromString(batch.SerializeToString())


def spans_by_trace(shelf):
    found = {}
    for trace in shelf.traces:
        found.setdefault(trace.trace_id.hex(), set()).update(span.span_id.hex() for span in spans(trace.batch))
    return found


@pytest.mark.parametrize("seed", [1, 2])
async def test_killed_at_any_moment_it_goes_on_where_it_was(tmp_path, seed):
    chance = random.Random(seed)
    sent = Sent()
    requests = [request for _ in range(40) for request in wave(chance, 12, sent)]
    journal_path, shelf, acknowledged, kills = tmp_path / "journal.db", Shelf(), set(), []
    async with (
        SqliteJournal(journal_path) as journal,
        running({"tail_sampling": SAMPLING}, journal=journal, shelf=shelf) as flow,
    ):
        sending = asyncio.gather(
            *(send(flow, requests, range(first, len(requests), 4), acknowledged, chance) for first in range(4))
        )
        for number in range(KILLS):
            await asyncio.sleep(chance.uniform(0, 0.15))
            kills.append(Kill(journal_path, tmp_path / str(number), acknowledged, shelf))
        await sending
        await flow.settled()
    moments = {(len(kill.acknowledged), len(kill.delivered)) for kill in kills}
    assert len(moments) > KILLS // 2, "the kills were not spread: they prove little"

    sampler = TailSampler(TailSamplingConfig.model_validate(SAMPLING), time.monotonic)
    kept = {trace.trace_id.hex() for trace in sent.whole if sampler.decide(trace).sampled}
    wanted = {trace_id: sent.ids[trace_id] for trace_id in kept}
    assert {trace.trace_id.hex() for trace in sent.whole if must_be_kept(trace)} <= kept
    assert spans_by_trace(shelf) == wanted
    gate = asyncio.Semaphore(5)  # more at a time, and they are too slow for the decision's wait
    await asyncio.gather(*(go_on(kill, requests, wanted, gate) for kill in kills))


async def go_on(kill, requests, wanted, gate):
    """The next start on what the kill left; its senders repeat what was not acknowledged."""
    rest = [copy(request) for number, request in enumerate(requests) if number not in kill.acknowledged]
    async with (
        gate,
        SqliteJournal(kill.path) as journal,
        running({"tail_sampling": SAMPLING}, journal=journal, shelf=kill.shelf) as flow,
    ):
        await asyncio.gather(*(flow.head.accept(request, Context()) for request in rest))
        await flow.settled()
    assert spans_by_trace(kill.shelf) == wanted
