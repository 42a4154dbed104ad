"""The flow from the journal to delivery, with a destination in memory."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from spanbridge.collector.errors import Held, Permanent
from spanbridge.collector.flow.assembly import Assembly, AssemblyLimits
from spanbridge.collector.flow.backoff import Backoff
from spanbridge.collector.flow.delivery import Delivery, DeliveryOptions
from spanbridge.collector.flow.flow import Flow, FlowOptions
from spanbridge.collector.flow.head import PORTION, Head, HeadStage
from spanbridge.collector.flow.processors.tail_sampling import TailSampling
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.flow.trace_stage import TRUNCATED_TAG, TraceStage
from spanbridge.collector.journal import Entry
from spanbridge.collector.journal.memory import MemoryJournal
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.tail_sampling import TailSamplingConfig
from spanbridge.processors.types import Batch, Context, Logs, span_count, spans
from tests.fakes import MemoryExporter, refuse_spans
from tests.polling import until
from tests.samples.spans import add_span, new_id, trace_batch

QUICK = AssemblyLimits(wait_duration=0.05, wait_duration_after_root_received=0.0)
PATIENT = AssemblyLimits(wait_duration=3600, wait_duration_after_root_received=3600)
ROOMY = FlowOptions(memory=1 << 20)
KEEP_ERRORS = {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}}


class Ground:
    """A flow over a journal in memory, with one delivery to each of the exporters."""

    def __init__(self, exporters, limits, stages, options, sampling):
        self.exporters = exporters
        self.journal = MemoryJournal()
        self.telemetry = Telemetry(CollectorRegistry())
        released_traces = ReleasedTraces()
        self.assembly = Assembly(limits, released_traces)
        if sampling:
            config = TailSamplingConfig.model_validate({"policies": [KEEP_ERRORS], **sampling})
            options = replace(options, sampling=TailSampling(config, released_traces, self.telemetry))
        self.flow = Flow(
            "traces",
            self.journal,
            self.assembly,
            [TraceStage(process.__name__, process) for process in stages],
            telemetry=self.telemetry,
            released_traces=released_traces,
            options=options,
        )
        fast = DeliveryOptions(backoff=Backoff(0.001, 0.01))
        for number, exporter in enumerate(exporters):
            self.flow.deliver_to(Delivery(f"{number}", exporter, fast, self.telemetry, self.flow.settled))

    async def put(self, batch, signal="traces"):
        await self.journal.put(Entry(batch.SerializeToString(), Context(), signal))
        return batch

    def names(self, number=0):
        return sorted(self.exporters[number].spans.values())

    async def settled(self):
        await until(lambda: self.journal.state().rows == 0, what="settlement")

    def sample(self, name, **labels):
        return self.telemetry.registry.get_sample_value(name, labels)


@asynccontextmanager
async def flowing(*, exporters=None, limits=QUICK, stages=(), options=ROOMY, sampling=None, shutdown=0.0):
    ground = Ground(exporters or [MemoryExporter()], limits, stages, options, sampling)
    async with ground.flow.running(shutdown):
        yield ground


async def test_a_trace_in_two_requests_is_handed_on_whole():
    seen = []

    def look(trace):
        seen.append(span_count(trace.batch))
        return trace

    trace_id = new_id(16)
    async with flowing(stages=[look]) as ground:
        child = Batch()
        add_span(child, trace_id, "child", parent=new_id())
        await ground.put(child)
        await ground.put(trace_batch(trace_id, size=1))
        await ground.settled()
    assert seen == [2]
    assert ground.names() == ["child", "root"]


async def test_a_request_of_many_traces_is_done_with_when_all_of_them_are():
    batch = trace_batch(size=1, name="whole")
    add_span(batch, new_id(16), "waits for its root", parent=new_id())
    async with flowing(limits=replace(QUICK, wait_duration=3600)) as ground:
        await ground.put(batch)
        await until(lambda: ground.names() == ["whole"])
        assert ground.journal.state().rows == 1


async def test_what_a_processor_drops_is_settled():
    def drop(trace):
        return None

    def never(trace):
        raise AssertionError

    async with flowing(stages=[drop, never]) as ground:
        await ground.put(trace_batch())
        await ground.settled()
    assert not ground.names()
    assert ground.sample("otelcol_processor_incoming_items_total", processor="drop", otel_signal="traces") == 3
    assert not ground.sample("otelcol_processor_outgoing_items_total", processor="drop", otel_signal="traces")


async def test_a_fault_of_a_processor_costs_its_work_and_not_the_trace():
    def faulty(trace):
        raise ZeroDivisionError

    async with flowing(stages=[faulty]) as ground:
        await ground.put(trace_batch(size=1))
        await ground.settled()
    assert ground.names() == ["root"]
    assert ground.sample("spanbridge_processor_errors_total", processor="faulty") == 1


async def test_a_row_that_is_no_request_is_set_aside():
    async with flowing() as ground:
        await ground.journal.put(Entry(b"\xff\xff\xff", Context()))
        await ground.put(trace_batch(size=1))
        await ground.settled()
    assert ground.journal.state().dead_letters == 1
    assert ground.names() == ["root"]


async def test_a_trace_is_settled_when_each_destination_has_it():
    closed = [True]

    def verdict(traces):
        if closed[0]:
            raise Held("not yet")

    async with flowing(exporters=[MemoryExporter(), MemoryExporter(verdict)]) as ground:
        await ground.put(trace_batch(size=1))
        await until(lambda: ground.names(0))
        await until(lambda: len(ground.exporters[1].calls) > 3)
        assert ground.journal.state().rows == 1
        closed[0] = False
        await ground.settled()
    assert ground.names(0) == ground.names(1) == ["root"]


async def test_what_one_destination_refuses_is_set_aside_for_it_alone():
    async with flowing(exporters=[MemoryExporter(), MemoryExporter(refuse_spans("bad"))]) as ground:
        await ground.put(trace_batch(size=1, name="bad"))
        while not ground.journal.state().dead_letters:
            await ground.put(trace_batch(size=1, name="good"))
            await asyncio.sleep(0.005)
        await ground.settled()
    assert "bad" in ground.names(0)
    assert "bad" not in ground.names(1)


async def test_a_memory_that_is_full_of_incomplete_traces_lets_the_oldest_go():
    async with flowing(limits=PATIENT, options=FlowOptions(memory=2000)) as ground:
        for _ in range(60):
            await ground.put(trace_batch())
        await until(lambda: len(ground.exporters[0].spans) > 100)
        assert ground.assembly.size <= 2500
    assert ground.sample("spanbridge_released_traces_total", pipeline="traces", cause="evicted") > 30


async def test_what_is_evicted_can_be_dropped_and_is_counted():
    limits = replace(PATIENT, num_traces=2)
    async with flowing(limits=limits, sampling={"on_eviction": "drop"}) as ground:
        for _ in range(10):
            await ground.put(trace_batch(size=2))
        await until(lambda: ground.journal.state().rows == 2)
    assert not ground.names()
    assert ground.sample("spanbridge_dropped_items_total", otel_signal="traces", reason="evicted") == 16


async def test_no_more_is_taken_in_while_there_is_no_room_for_traces():
    limits = replace(PATIENT, num_traces=3, block_on_overflow=True)
    async with flowing(limits=limits) as ground:
        for _ in range(10):
            await ground.put(trace_batch())
        await until(lambda: len(ground.assembly) == 3)
        await asyncio.sleep(0.1)  # a time in which nothing may happen
        assert len(ground.assembly) == 3
        assert not ground.names()


async def test_a_trace_that_is_decided_early_does_not_wait():
    bad = trace_batch(size=1, name="bad")
    next(spans(bad)).status.code = 2
    async with flowing(limits=PATIENT, sampling={"sampling_strategy": "span-ingest"}) as ground:
        await ground.put(trace_batch(size=1, name="good"))
        await ground.put(bad)
        await until(ground.names)
        assert ground.names() == ["bad"]
    assert ground.sample("spanbridge_released_traces_total", pipeline="traces", cause="early") == 1


async def test_a_trace_beyond_its_cap_says_how_much_is_missing():
    tags = []

    def look(trace):
        tags.append(trace.tags)
        return trace

    trace_id = new_id(16)
    async with flowing(
        limits=replace(QUICK, wait_duration_after_root_received=0.05, maximum_trace_spans=2), stages=[look]
    ) as ground:
        await ground.put(trace_batch(trace_id, size=2))
        for _ in range(3):
            child = Batch()
            add_span(child, trace_id, "more", parent=new_id())
            await ground.put(child)
        await ground.settled()
    assert tags == [{TRUNCATED_TAG: "3 of 5"}]
    assert ground.sample("spanbridge_truncated_spans_total", pipeline="traces") == 3


async def test_log_records_without_a_span_are_dropped_and_counted():
    logs = Logs()
    logs.resource_logs.add().scope_logs.add().log_records.add(trace_id=new_id(16))
    async with flowing(options=replace(ROOMY, keep_for_logs=True)) as ground:
        await ground.put(logs, signal="logs")
        await ground.settled()
    assert not ground.exporters[0].calls
    assert ground.sample("spanbridge_dropped_items_total", otel_signal="logs", reason="no span came for it") == 1


async def test_log_records_that_come_late_meet_the_spans_that_went_before():
    seen = []

    def look(trace):
        seen.append((span_count(trace.batch), trace.logs is not None))
        return trace

    trace_id = new_id(16)
    logs = Logs()
    logs.resource_logs.add().scope_logs.add().log_records.add(trace_id=trace_id)
    async with flowing(stages=[look], options=replace(ROOMY, keep_for_logs=True)) as ground:
        await ground.put(trace_batch(trace_id, size=2))
        await ground.settled()
        await ground.put(logs, signal="logs")
        await ground.settled()
    assert seen == [(2, False), (2, True)]


@pytest.mark.parametrize("keep", [False, True])
async def test_at_the_end_what_waits_is_handed_on_or_kept(keep):
    limits = replace(PATIENT, drop_pending_traces_on_shutdown=keep)
    async with flowing(limits=limits, shutdown=5) as ground:
        await ground.put(trace_batch(size=1))
        await until(lambda: len(ground.assembly) == 1)
    assert ground.names() == ([] if keep else ["root"])
    assert ground.journal.state().rows == int(keep)


async def test_the_end_does_not_wait_for_a_destination_longer_than_it_may():
    def verdict(traces):
        raise Held("closed")

    started = asyncio.get_running_loop().time()
    async with flowing(exporters=[MemoryExporter(verdict)], shutdown=0.2) as ground:
        await ground.put(trace_batch(size=1))
    assert 0.2 <= asyncio.get_running_loop().time() - started < 2
    assert ground.journal.state().rows == 1


async def test_sends_that_end_while_the_flow_does_are_not_gone_on_with(caplog):
    """A batch that is refused would be sent again in halves, in threads that are no more."""

    def verdict(traces):
        raise Permanent("no")

    for _ in range(20):
        async with flowing(exporters=[MemoryExporter(verdict)]) as ground:
            for _ in range(64):
                await ground.put(trace_batch(size=1))
            await until(lambda: ground.exporters[0].calls)
        assert ground.journal.state().rows == 64
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_large_request_is_worked_on_in_portions_and_committed_as_one():
    sizes, journal = [], MemoryJournal()

    def look(request):
        sizes.append(span_count(request))
        return request

    def drop_even(request):
        for resource_spans in request.resource_spans:
            kept = [span for span in resource_spans.scope_spans[0].spans if span.name[-1] in "13579"]
            del resource_spans.scope_spans[0].spans[:]
            resource_spans.scope_spans[0].spans.extend(kept)
        return request

    observed = []
    stages = [
        HeadStage("metrics", observed.append, observes=True),
        HeadStage("look", look),
        HeadStage("drop", drop_even),
    ]
    request = Batch()
    for service in range(3):
        scope = request.resource_spans.add(schema_url=f"{service}").scope_spans.add(schema_url="scope")
        for number in range((100, 10, 5000)[service]):
            scope.spans.add(trace_id=b"t" * 16, span_id=number.to_bytes(8, "big"), name=f"{service} {number}")
    names = {span.name for span in spans(request)}
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    await Head(stages, journal, Telemetry(CollectorRegistry())).accept(request, Context())
    beside.cancel()
    row = await journal.take()
    assert journal.state().rows == 1
    found = Batch.FromString(row.entry.payload)
    assert {span.name for span in spans(found)} == {name for name in names if name[-1] in "13579"}
    assert {(rs.schema_url, rs.scope_spans[0].schema_url) for rs in found.resource_spans} == {
        ("0", "scope"),
        ("1", "scope"),
        ("2", "scope"),
    }
    assert sum(sizes) == sum(span_count(each) for each in observed) == 5110
    assert max(sizes) <= 2 * PORTION
    assert turns >= len(sizes) > 5


@pytest.mark.parametrize(("size", "here"), [(10, True), (3 * PORTION, False)])
async def test_a_giant_trace_does_not_keep_the_loop_from_senders(size, here):
    threads = []

    def look(trace):
        threads.append(threading.current_thread() is threading.main_thread())
        return trace

    async with flowing(stages=[look]) as ground:
        await ground.put(trace_batch(size=size))
        await ground.settled()
    assert threads == [here]
    assert len(ground.names()) == size
