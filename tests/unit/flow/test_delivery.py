"""Delivery against an exporter that fails in every way there is."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from spanbridge.collector.errors import Denied, Held, Misplaced, Permanent, Retryable
from spanbridge.collector.exporters import SerializedTrace
from spanbridge.collector.flow.backoff import Backoff
from spanbridge.collector.flow.delivery import Delivery, DeliveryOptions
from spanbridge.collector.flow.send_queue import SendLimits
from spanbridge.collector.flow.settlement import SettlementAccount
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.types import Batch, Context, Trace, span_count, spans
from tests.fakes import MemoryExporter, fail_first, refuse_spans
from tests.polling import until
from tests.samples.spans import add_span, new_id, trace_batch

FAST = Backoff(initial_interval=0.001, max_interval=0.01)


class Ground:
    """A delivery over a `MemoryExporter`, and what it settled."""

    def __init__(self, exporter, **options):
        self.exporter = exporter
        self.settled = []
        self.telemetry = Telemetry(CollectorRegistry())
        options = DeliveryOptions(**{"backoff": FAST, **options})
        self.delivery = Delivery("fake", exporter, options, self.telemetry, self.settled.append)

    async def offer(self, batch, **context):
        trace_id = next(spans(batch)).trace_id
        account = SettlementAccount(trace_id, open_parts=1)
        trace = Trace(trace_id, batch, Context(**context))
        await self.delivery.offer(trace, SerializedTrace.of(trace), account)
        return account

    def metric(self, name, **labels):
        return self.telemetry.registry.get_sample_value(name, {"exporter": "fake", **labels})

    def dead_letters(self):
        return [entry for account in self.settled for entry in account.dead_letters]


@asynccontextmanager
async def running(exporter, **options):
    ground = Ground(exporter, **options)
    task = asyncio.create_task(ground.delivery.run())
    try:
        yield ground
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        ground.delivery.close()


async def test_whole_traces_are_sent_and_settled():
    async with running(MemoryExporter()) as ground:
        accounts = [await ground.offer(trace_batch()) for _ in range(100)]
        await until(lambda: len(ground.settled) == 100)

    assert {id(account) for account in ground.settled} == {id(account) for account in accounts}
    assert len(ground.exporter.spans) == 300
    assert ground.metric("otelcol_exporter_sent_spans_total") == 300


async def test_traces_of_different_groups_never_share_a_send():
    async with running(MemoryExporter()) as ground:
        for number in range(20):
            await ground.offer(trace_batch(), experiment_name=str(number % 2))
        ids = {account.trace_id: account for account in ground.settled}
        await until(lambda: len(ground.settled) == 20)
        ids = {account.trace_id for account in ground.settled}
    assert {trace_id for call in ground.exporter.calls for trace_id in call} == ids
    assert len(ground.exporter.calls) < 20


@pytest.mark.parametrize("error", [Retryable, Held])
async def test_what_fails_for_now_is_repeated_until_it_succeeds(error):
    left = [50]

    def verdict(traces):
        if left[0]:
            left[0] -= 1
            raise error("not now")

    async with running(MemoryExporter(verdict)) as ground:
        for _ in range(10):
            await ground.offer(trace_batch())
        await until(lambda: len(ground.settled) == 10)
        assert ground.metric("spanbridge_delivery_held") == 0
    assert not ground.dead_letters()
    assert len(ground.exporter.spans) == 30
    assert ground.metric("spanbridge_delivery_retries_total") == 50


async def test_the_destination_is_not_asked_again_before_the_time_it_gave():
    async with running(MemoryExporter(fail_first(1, retry_after=0.05))) as ground:
        started = asyncio.get_running_loop().time()
        await ground.offer(trace_batch())
        await until(lambda: ground.settled)
        assert asyncio.get_running_loop().time() - started >= 0.05


@pytest.mark.parametrize("error", [Permanent])
async def test_only_the_bad_span_of_a_batch_of_50_is_set_aside(error):
    async with running(MemoryExporter(refuse_spans("bad", error=error))) as ground:
        for number in range(50):
            batch = trace_batch()
            if number == 25:
                trace_id = next(spans(batch)).trace_id
                add_span(batch, trace_id, "bad", parent=new_id())
            await ground.offer(batch)
        await until(lambda: len(ground.settled) == 50)

    [letter] = ground.dead_letters()
    assert len(ground.exporter.spans) == 150
    assert letter.reason == "a span it does not like"
    assert [span.name for span in spans(Batch.FromString(letter.payload))] == ["bad"]
    assert ground.metric("spanbridge_set_aside_spans_total", reason="refused") == 1


async def test_a_destination_that_refuses_everything_gets_nothing_set_aside():
    broken = [True]

    def verdict(traces):
        if broken[0]:
            raise Permanent("422 by whim")

    async with running(MemoryExporter(verdict)) as ground:
        for _ in range(5):
            await ground.offer(trace_batch())
        await until(lambda: len(ground.exporter.calls) > 200)
        assert not ground.settled
        broken[0] = False
        await until(lambda: len(ground.settled) == 5)
    assert not ground.dead_letters()
    assert len(ground.exporter.spans) == 15


async def test_a_trace_that_fails_alone_while_others_succeed_is_split_in_the_end():
    async with running(MemoryExporter(refuse_spans("bad", error=Retryable))) as ground:
        bad = trace_batch(size=2)
        add_span(bad, next(spans(bad)).trace_id, "bad", parent=new_id())
        await ground.offer(bad)
        while not ground.dead_letters():
            await ground.offer(trace_batch(size=1))
            await asyncio.sleep(0)
            assert len(ground.exporter.calls) < 100_000
    assert sum(span_count(Batch.FromString(entry.payload)) for entry in ground.dead_letters()) == 1


async def test_one_group_that_is_held_does_not_stop_the_others():
    def verdict(traces):
        if traces[0].context.experiment_name == "wrong":
            raise Held("no such experiment")

    async with running(MemoryExporter(verdict)) as ground:
        await ground.offer(trace_batch(), experiment_name="wrong")
        for _ in range(20):
            await ground.offer(trace_batch(), experiment_name="right")
        await until(lambda: len(ground.settled) == 20)
    assert all(account.open_parts == 0 for account in ground.settled)


async def test_an_exporter_that_raises_something_else_loses_nothing():
    left = [3]

    def verdict(traces):
        if left[0]:
            left[0] -= 1
            raise ZeroDivisionError

    async with running(MemoryExporter(verdict)) as ground:
        await ground.offer(trace_batch())
        await until(lambda: ground.settled)
    assert len(ground.exporter.spans) == 3


async def test_offer_waits_while_there_is_no_room():
    def verdict(traces):
        raise Held("closed")

    async with running(MemoryExporter(verdict), room=10) as ground:
        for _ in range(4):
            await ground.offer(trace_batch())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await ground.offer(trace_batch())
        ground.exporter.verdict = lambda traces: None
        await ground.offer(trace_batch())
        await until(lambda: len(ground.settled) == 5)


async def test_sends_wait_for_enough_spans_or_the_linger():
    limits = SendLimits(send_batch_size=9, timeout=0.1)
    async with running(MemoryExporter(), limits=limits) as ground:
        for _ in range(3):
            await ground.offer(trace_batch())
        await until(lambda: len(ground.settled) == 3)
        await ground.offer(trace_batch())
        await until(lambda: len(ground.settled) == 4)
    assert [len(call) for call in ground.exporter.calls] == [3, 1]


def there_is_no(experiment, error, there=lambda: False):
    def verdict(traces):
        if traces[0].context.experiment_name == experiment and not there():
            raise error("it is deleted")

    return MemoryExporter(verdict)


async def test_what_waits_for_an_experiment_that_is_gone_leaves_room_for_the_others():
    restored = False
    async with running(there_is_no("gone", Misplaced, lambda: restored), room=300) as ground:
        for number in range(1000):
            async with asyncio.timeout(10):
                await ground.offer(trace_batch(), experiment_name="gone" if number % 10 else "there")
        await until(lambda: len(ground.exporter.spans) == 300)
        given_up = len(ground.dead_letters())
        assert ground.metric("spanbridge_set_aside_spans_total", reason="refused") == 3 * given_up
        assert 100 <= 3 * (900 - given_up) <= 150 + 3  # half of the room, and one on its way
        restored = True
        await until(lambda: len(ground.settled) == 1000)
    assert len(ground.exporter.spans) + 3 * given_up == 3000


async def test_nothing_is_set_aside_while_no_other_gets_through():
    restored = False
    async with running(there_is_no("gone", Misplaced, lambda: restored), room=300) as ground:
        offers = [asyncio.create_task(ground.offer(trace_batch(), experiment_name="gone")) for _ in range(500)]
        await until(lambda: (ground.metric("spanbridge_delivery_retries_total") or 0) > 20)
        assert not ground.settled
        assert not all(offer.done() for offer in offers)
        restored = True
        await asyncio.gather(*offers)
        await until(lambda: len(ground.settled) == 500)
    assert not ground.dead_letters()


async def test_suspects_have_a_room_of_their_own():
    """What a destination refuses is tried again over many seconds; the others need not wait for that."""
    patient = Backoff(initial_interval=60, max_interval=60)
    async with running(MemoryExporter(refuse_spans("bad")), room=300, backoff=patient) as ground:
        async with asyncio.timeout(10):
            for _ in range(110):
                await ground.offer(trace_batch(name="bad"))
            await until(lambda: len(ground.exporter.calls) >= 110, what="each of them refused")
            for _ in range(50):
                await ground.offer(trace_batch())
        await until(lambda: len(ground.settled) == 50)
        assert not ground.dead_letters()


@pytest.mark.parametrize(("rejects", "sent"), [(2, 4), (99, 0)])
async def test_what_a_destination_says_it_rejected_is_not_counted_as_sent(rejects, sent):
    exporter = MemoryExporter()
    exporter.rejects = rejects
    async with running(exporter) as ground:
        await ground.offer(trace_batch(size=6))
        await until(lambda: ground.settled)
    assert ground.metric("otelcol_exporter_sent_spans_total") == sent
    assert ground.metric("otelcol_exporter_send_failed_spans_total") == 6 - sent


async def test_a_half_that_may_go_nowhere_is_dropped_and_the_rest_goes_on():
    class Guarded(MemoryExporter):
        def group(self, trace):
            if trace.root is None:
                raise Denied("not there")

    def verdict(traces):
        if any(span_count(trace.batch) > 1 for trace in traces):
            raise Permanent("not both")

    async with running(Guarded(verdict)) as ground:
        await ground.offer(trace_batch(size=2))
        await until(lambda: ground.settled)
        await ground.offer(trace_batch(size=1, name="next"))
        await until(lambda: len(ground.settled) == 2)
    assert sorted(ground.exporter.spans.values()) == ["next", "root"]
    assert not ground.dead_letters()
    labels = {"otel_signal": "traces", "reason": "experiment not allowed"}
    assert ground.telemetry.registry.get_sample_value("spanbridge_dropped_items_total", labels) == 1
