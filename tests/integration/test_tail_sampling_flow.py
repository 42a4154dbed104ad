"""Tail sampling in a pipeline: what is decided when, what follows a decision, and what is never lost in silence."""

import asyncio
from contextlib import asynccontextmanager
from hashlib import sha256

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from prometheus_client import CollectorRegistry

from spanbridge.collector.errors import Retryable
from spanbridge.collector.flow.head import Head
from spanbridge.collector.flow.trace_stage import TRUNCATED_TAG
from spanbridge.collector.journal.memory import MemoryJournal
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.attributes import put
from spanbridge.processors.trace_state import TraceState
from spanbridge.processors.types import Batch, Context, spans
from tests.flows import Shelf, running
from tests.polling import until
from tests.samples.spans import add_span, new_id, trace_batch

WAIT = 0.15
"""Seconds a decision waits in these tests."""
ERRORS = {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}}
ALL = {"name": "all", "type": "always_sample"}
NONE = {"name": "none", "type": "probabilistic", "probabilistic": {"sampling_percentage": 0}}
TAIL = "otelcol_processor_tail_sampling_"


def sampling(*policies, wait=f"{WAIT}s", **keys):
    return {"tail_sampling": {"decision_wait": wait, "policies": list(policies or (ERRORS,)), **keys}}


def child(trace_id, name="child", *, failed=False, **attributes):
    """A request of one span that is no root."""
    batch = Batch()
    add_span(batch, trace_id, name, parent=new_id(), **attributes)
    if failed:
        fail(batch)
    return batch


def random_ids(count):
    """Trace ids spread as those of real tracers are, the same in each run."""
    return [sha256(str(number).encode()).digest()[:16] for number in range(count)]


def fail(batch):
    """The batch, its first span in error."""
    next(spans(batch)).status.code = Status.STATUS_CODE_ERROR
    return batch


def root(trace_id, size=1):
    return trace_batch(trace_id, size)


@asynccontextmanager
async def on_disk(folder):
    async with SqliteJournal(folder / "journal.db") as journal:
        yield journal


# ---- what is decided when


async def test_a_trace_is_decided_on_all_that_came_within_the_wait():
    kept, dropped = new_id(16), new_id(16)
    async with running(sampling()) as flow:
        await flow.put(root(kept), root(dropped))
        await flow.put(child(kept, "the error", failed=True), child(dropped))
        assert flow.shelf.traces == []
        await flow.settled()
        assert flow.shelf.names(kept) == {"root", "the error"}
        assert flow.shelf.of(dropped) == []


async def test_a_trace_without_a_root_is_decided_at_the_end_of_the_wait():
    trace_id = new_id(16)
    async with running(sampling(decision_wait_after_root_received="1ms")) as flow:
        await flow.put(child(trace_id, failed=True))
        await flow.settled()
        [trace] = flow.shelf.of(trace_id)
        assert trace.root is None
        assert flow.sample("spanbridge_released_traces_total", cause="wait") == 1


async def test_after_the_root_it_may_be_decided_sooner():
    trace_id = new_id(16)
    async with running(sampling(ALL, wait="1h", decision_wait_after_root_received="10ms")) as flow:
        await flow.put(child(trace_id), root(trace_id))
        await flow.settled()
        assert flow.shelf.names(trace_id) == {"child", "root"}


async def test_a_span_that_was_sent_twice_counts_once():
    """Its sender missed the OK, as after a crash; else a trace of 2 spans would seem to have 4."""
    policy = {"name": "small", "type": "span_count", "span_count": {"max_spans": 2}}
    trace_id = new_id(16)
    batch = root(trace_id, size=2)
    async with running(sampling(policy)) as flow:
        await flow.put(batch, batch)
        await flow.settled()
        [trace] = flow.shelf.of(trace_id)
        assert sorted(span.name for span in spans(trace.batch)) == ["child 0", "root"]


# ---- late spans


async def test_late_spans_follow_the_decision():
    kept, dropped = new_id(16), new_id(16)
    async with running(sampling()) as flow:
        await flow.put(fail(root(kept)), root(dropped))
        await flow.settled()
        await flow.put(child(kept, "late"), child(dropped, "late", failed=True))
        await flow.settled()
        first, late = flow.shelf.of(kept)
        assert (first.late, late.late) == (False, True)
        assert late.tags == first.tags
        assert flow.shelf.of(dropped) == []
        decided = TAIL + "global_count_traces_sampled_total"
        assert flow.sample(decided, sampled="true", decision="sampled") == 1
        assert flow.sample(decided, sampled="false", decision="not_sampled") == 1
        assert flow.sample(TAIL + "early_releases_from_cache_decision_total") == 2
        assert flow.sample(TAIL + "new_trace_id_received_total") == 2


async def test_late_spans_follow_the_decision_after_a_restart(tmp_path):
    kept, dropped = new_id(16), new_id(16)
    async with on_disk(tmp_path) as journal, running(sampling(), journal=journal) as flow:
        await flow.put(fail(root(kept)), root(dropped))
        await flow.settled()
    async with on_disk(tmp_path) as journal, running(sampling(), journal=journal) as flow:
        await flow.put(child(kept, "late"), child(dropped, "late", failed=True))
        await flow.settled()
        assert [trace.late for trace in flow.shelf.of(kept)] == [True]
        assert flow.shelf.of(kept)[0].tags["sampling.policy"] == "errors"
        assert flow.shelf.of(dropped) == []


# ---- a restart in the middle of the wait


async def test_what_waits_for_a_decision_when_the_process_dies_is_decided_whole(tmp_path):
    """The part before the death and the part after make one trace; what was settled before stays settled."""
    trace_id, settled = new_id(16), new_id(16)
    request = root(trace_id)
    request.MergeFrom(child(settled))
    async with on_disk(tmp_path) as journal:
        await Head([], journal, telemetry()).accept(request, Context())
    async with on_disk(tmp_path) as journal, running(sampling(), journal=journal) as flow:
        await flow.put(child(trace_id, "the error", failed=True))
        await flow.settled()
        [trace] = flow.shelf.of(trace_id)
        assert {span.name for span in spans(trace.batch)} == {"root", "the error"}
        assert flow.shelf.of(settled) == []


def telemetry():
    return Telemetry(CollectorRegistry())


# ---- limits


@pytest.mark.parametrize(
    ("keys", "kept"),
    [({"maximum_trace_spans": 10}, 10), ({"maximum_trace_size_bytes": 1000}, 15)],
)
async def test_a_giant_trace_is_capped_and_says_so(keys, kept):
    """In many requests or in one; its root is kept wherever it comes."""
    in_many, in_one, small = new_id(16), new_id(16), new_id(16)
    one = Batch()
    for number in range(99):
        add_span(one, in_one, f"child {number}", parent=b"8 bytes!")
    add_span(one, in_one, "root")
    async with running(sampling(ALL, **keys)) as flow:
        await flow.put(*(child(in_many, f"child {number}") for number in range(99)), root(in_many), one, root(small, 3))
        await flow.settled()
        for trace_id in (in_many, in_one):
            [trace] = flow.shelf.of(trace_id)
            found = [span.name for span in spans(trace.batch)]
            assert found[-1] == "root"
            assert kept - 1 <= len(found) <= kept + 1
            assert trace.tags[TRUNCATED_TAG] == f"{100 - len(found)} of 100"
        assert TRUNCATED_TAG not in flow.shelf.of(small)[0].tags
        dropped = sum(100 - len(flow.shelf.names(trace_id)) for trace_id in (in_many, in_one))
        assert flow.sample("spanbridge_truncated_spans_total") == dropped


async def test_a_giant_trace_leaves_memory_for_the_others():
    """Without a cap of its own it goes on in parts; the others wait for their decision all the same."""
    giant, others = new_id(16), [new_id(16) for _ in range(20)]
    async with running(sampling(wait="0.5s"), memory=400_000) as flow:
        await flow.put(*(root(other) for other in others))
        for number in range(60):
            await flow.put(child(giant, f"part {number}", failed=True, text="x" * 10_000))
        await flow.put(*(child(other, "the error", failed=True) for other in others))
        await flow.settled()
        assert all(flow.shelf.names(other) == {"root", "the error"} for other in others)
        assert len(flow.shelf.names(giant)) == 60
        assert flow.sample("spanbridge_released_traces_total", cause="evicted") == 0
        assert flow.sample("spanbridge_released_traces_total", cause="large") >= 1


async def test_beyond_num_traces_the_oldest_is_decided_early_and_counted():
    ids = [new_id(16) for _ in range(5)]
    async with running(sampling(wait="1h", num_traces=2), shutdown_timeout=0.1) as flow:
        await flow.put(*(child(trace_id, failed=number != 1) for number, trace_id in enumerate(ids)))
        await until(lambda: len(flow.shelf.traces) == 2)
        assert [trace.trace_id for trace in flow.shelf.traces] == [ids[0], ids[2]]
        assert flow.sample(TAIL + "sampling_trace_dropped_too_early_total") == 3


async def test_on_eviction_drop_drops_it_counted_and_whole():
    oldest, others = new_id(16), [new_id(16) for _ in range(2)]
    async with running(sampling(num_traces=2, on_eviction="drop")) as flow:
        await flow.put(*(child(trace_id, failed=True) for trace_id in (oldest, *others)))
        await flow.settled()
        await flow.put(child(oldest, "late", failed=True))
        await flow.settled()
        assert {trace.trace_id for trace in flow.shelf.traces} == set(others)
        assert flow.sample("spanbridge_dropped_items_total", reason="evicted") == 1
        assert flow.sample(TAIL + "sampling_trace_dropped_too_early_total") == 1
        assert flow.sample(TAIL + "global_count_traces_sampled_total", decision="dropped") == 1


async def test_block_on_overflow_leaves_the_rest_in_the_journal():
    ids = [new_id(16) for _ in range(9)]
    async with running(sampling(num_traces=3, block_on_overflow=True)) as flow:
        await flow.put(*(child(trace_id, failed=True) for trace_id in ids), read=False)
        await until(lambda: len(flow.assembly) == 3)
        assert flow.journal.state().rows == 9
        await flow.settled()
        assert [trace.trace_id for trace in flow.shelf.traces] == ids
        assert flow.sample("spanbridge_released_traces_total", cause="evicted") == 0


@pytest.mark.parametrize("block", [False, True])
async def test_when_memory_is_short_traces_are_decided_early_or_the_rest_waits(block):
    ids = [new_id(16) for _ in range(40)]
    async with running(sampling(block_on_overflow=block), memory=20_000) as flow:
        await flow.put(*(child(trace_id, failed=True, text="x" * 2000) for trace_id in ids), read=False)
        await flow.settled()
        assert sorted(trace.trace_id for trace in flow.shelf.traces) == ids
        assert (flow.sample("spanbridge_released_traces_total", cause="evicted") == 0) == block


# ---- an outage of the destination


async def test_no_trace_is_decided_while_its_spans_wait_unread_behind_an_outage():
    """The journal has the error in time, but memory is full of what can't be delivered."""
    away = [True]

    def verdict(_):
        if away:
            raise Retryable("away")

    split, filling = new_id(16), [new_id(16) for _ in range(60)]
    async with running(sampling(), shelf=Shelf(verdict), memory=100_000) as flow:
        await flow.put(*(child(trace_id, failed=True, text="x" * 1700) for trace_id in filling[:40]))
        await until(lambda: flow.shelf.calls)
        await flow.put(root(split))
        await flow.put(*(child(trace_id, failed=True, text="x" * 1700) for trace_id in filling[40:]), read=False)
        await flow.put(child(split, "the error", failed=True), read=False)
        await asyncio.sleep(4 * WAIT)  # far longer than a decision waits
        assert not flow.caught_up()
        away.clear()
        await flow.settled()
        assert flow.shelf.names(split) == {"root", "the error"}
        assert {trace.trace_id for trace in flow.shelf.traces} == {split, *filling}
        assert flow.sample("spanbridge_released_traces_total", cause="evicted") == 0


# ---- shutdown


async def test_at_shutdown_what_is_pending_is_decided_on_what_has_come():
    kept, dropped = new_id(16), new_id(16)
    journal, shelf = MemoryJournal(), Shelf()
    async with running(sampling(wait="1h"), journal=journal, shelf=shelf) as flow:
        await flow.put(child(kept, failed=True), child(dropped))
    assert {trace.trace_id for trace in shelf.traces} == {kept}
    assert journal.state().rows == 0


async def test_at_shutdown_the_journal_is_read_to_its_end_first(tmp_path):
    """What came of a trace is in many requests, of which few are read when the order to stop comes."""
    ids = [new_id(16) for _ in range(1500)]
    async with on_disk(tmp_path) as journal:
        head = Head([], journal, telemetry())
        await asyncio.gather(*(head.accept(root(trace_id), Context()) for trace_id in ids))
        await asyncio.gather(*(head.accept(child(trace_id, "the error", failed=True), Context()) for trace_id in ids))
    shelf = Shelf()
    async with on_disk(tmp_path) as journal:
        async with running(sampling(wait="1h"), journal=journal, shelf=shelf, shutdown_timeout=60):
            pass
        assert journal.state().rows == 0
    assert all(shelf.names(trace_id) == {"root", "the error"} for trace_id in ids)


async def test_drop_pending_traces_on_shutdown_leaves_them_for_the_next_start(tmp_path):
    """Nothing is dropped: the journal has them, and the next start decides them with what comes then."""
    pending, decided = new_id(16), new_id(16)
    keep = sampling(drop_pending_traces_on_shutdown=True, wait="1h", decision_wait_after_root_received="50ms")
    shelf = Shelf()
    async with on_disk(tmp_path) as journal, running(keep, journal=journal, shelf=shelf) as flow:
        request = child(pending, "first")
        request.MergeFrom(fail(root(decided)))
        await flow.put(request)
        await until(lambda: shelf.of(decided))
    assert shelf.of(pending) == []
    async with on_disk(tmp_path) as journal, running(keep, journal=journal, shelf=shelf) as flow:
        await flow.put(child(pending, "second", failed=True), root(pending))
        await flow.settled()
    [trace] = shelf.of(pending)
    assert {span.name for span in spans(trace.batch)} == {"first", "second", "root"}
    assert len(shelf.of(decided)) == 1


class SlowJournal(MemoryJournal):
    """A journal on a slow disk."""

    async def settle(self, settlement):
        await asyncio.sleep(0.2)
        await super().settle(settlement)


async def test_what_was_delivered_before_the_shutdown_is_settled_before_the_end():
    """Else it would be decided and delivered once more."""
    keep = sampling(drop_pending_traces_on_shutdown=True, wait="1h", decision_wait_after_root_received="10ms")
    journal = SlowJournal()
    async with running(keep, journal=journal) as flow:
        await flow.put(child(new_id(16)), fail(root(new_id(16))), fail(root(new_id(16))))
        await until(lambda: len(flow.shelf.traces) == 2)
    assert journal.state().rows == 1


# ---- span-ingest


async def test_span_ingest_decides_as_soon_as_nothing_can_change_it():
    certain, open_ = new_id(16), new_id(16)
    ingest = sampling(ERRORS, sampling_strategy="span-ingest", wait="0.4s")
    async with running(ingest) as flow:
        await flow.put(child(certain, "before"), child(open_))
        await flow.put(child(certain, "the error", failed=True))
        await until(lambda: flow.shelf.of(certain), seconds=0.35, what="an early decision")
        await flow.put(child(certain, "after"), child(open_))
        await until(lambda: len(flow.shelf.of(certain)) == 2, seconds=0.3, what="the late span")
        await flow.settled()
        first, after = flow.shelf.of(certain)
        assert {span.name for span in spans(first.batch)} == {"before", "the error"}
        assert (after.late, after.tags) == (True, first.tags)
        assert flow.shelf.of(open_) == []
        assert flow.sample("spanbridge_released_traces_total", cause="early") == 1


async def test_span_ingest_looks_at_a_growing_trace_a_few_times_only():
    """At each of n spans, n spans would be decoded."""
    trace_id = new_id(16)
    ingest = sampling(ERRORS, sampling_strategy="span-ingest", wait="10s")
    asked = []
    async with running(ingest, shutdown_timeout=1) as flow:
        decide = flow.plan.sampling._sampler.decide_early
        flow.plan.sampling._sampler.decide_early = lambda trace: asked.append(1) or decide(trace)
        await flow.put(*(child(trace_id) for _ in range(1000)))
    assert 5 <= len(asked) <= 12


# ---- what kept traces carry


async def test_tags_and_tracestate_say_how_a_trace_was_sampled():
    half = {"name": "half", "type": "probabilistic", "probabilistic": {"sampling_percentage": 50}}
    certain, ids = new_id(16), random_ids(40)
    async with running(sampling(ERRORS, half)) as flow:
        await flow.put(fail(root(certain)), *(root(trace_id, 2) for trace_id in ids))
        await flow.settled()
        [trace] = flow.shelf.of(certain)
        assert trace.tags == {"sampling.policy": "errors", "sampling.weight": "1"}
        assert {span.trace_state for span in spans(trace.batch)} == {""}
        drawn = [trace for trace in flow.shelf.traces if trace.trace_id != certain]
        assert 5 < len(drawn) < 35
        for trace in drawn:
            assert trace.tags == {"sampling.policy": "half", "sampling.weight": "2"}
            [text] = {span.trace_state for span in spans(trace.batch)}
            state = TraceState.parse(text)
            assert state.th == "8"
            assert state.randomness >= state.threshold


async def test_behind_the_head_sampler_a_trace_stands_for_as_many_as_its_tracestate_says():
    ids = random_ids(40)
    head = {"probabilistic_sampler": {"sampling_percentage": 50}}
    half = {"name": "half", "type": "probabilistic", "probabilistic": {"sampling_percentage": 50}}
    async with running({**head, "groupbytrace": {"wait_duration": f"{WAIT}s"}}) as flow:
        await flow.put(*(root(trace_id, 2) for trace_id in ids))
        await flow.settled()
        assert 5 < len(flow.shelf.traces) < 35
        for trace in flow.shelf.traces:
            assert trace.tags == {"sampling.policy": "probabilistic_sampler", "sampling.weight": "2"}
    async with running({**head, **sampling(half)}) as flow:
        await flow.put(*(root(trace_id, 2) for trace_id in ids))
        await flow.settled()
        assert 2 < len(flow.shelf.traces) < 20
        for trace in flow.shelf.traces:
            assert trace.tags == {"sampling.policy": "half", "sampling.weight": "4"}


async def test_genai_policies_see_what_genai_makes_of_a_span():
    """Token counts under a name that the policy does not know; behind `genai` it does."""
    policy = {"name": "tokens", "type": "token_usage", "token_usage": {"min_total": 100}}
    large, small = new_id(16), new_id(16)
    requests = []
    for trace_id, tokens in ((large, 90), (small, 10)):
        batch = root(trace_id)
        attributes = next(spans(batch)).attributes
        put(attributes, "openinference.span.kind", "LLM")
        put(attributes, "llm.token_count.prompt", tokens)
        put(attributes, "llm.token_count.completion", 20)
        requests.append(batch)
    async with running({"genai": {}, **sampling(policy)}) as flow:
        await flow.put(*requests)
        await flow.settled()
        assert {trace.trace_id for trace in flow.shelf.traces} == {large}
    async with running(sampling(policy)) as flow:
        await flow.put(*requests)
        await flow.settled()
        assert flow.shelf.traces == []


# ---- metrics


async def test_metrics_have_the_collectors_names():
    drop = {"drop_sub_policy": [{"name": "probe", "type": "string_attribute"}]}
    drop["drop_sub_policy"][0]["string_attribute"] = {"key": "path", "values": ["/health"]}
    policies = [ERRORS, {"name": "probes", "type": "drop", "drop": drop}]
    kept, plain, probe = new_id(16), new_id(16), new_id(16)
    async with running(sampling(*policies, wait="0.3s")) as flow:
        await flow.put(fail(root(kept, 3)), root(plain, 2), child(probe, path="/health"))
        await flow.settled()
        lines = flow.metrics()
    for line in (
        'count_traces_sampled{policy="errors",sampled="true",decision="sampled"} 1.0',
        'count_traces_sampled{policy="errors",sampled="false",decision="not_sampled"} 1.0',
        'count_spans_sampled{policy="errors",sampled="true",decision="sampled"} 3.0',
        'count_spans_sampled{policy="errors",sampled="false",decision="not_sampled"} 2.0',
        'count_traces_sampled{policy="probes",sampled="false",decision="dropped"} 1.0',
        'global_count_traces_sampled{sampled="true",decision="sampled"} 1.0',
        'global_count_traces_sampled{sampled="false",decision="not_sampled"} 1.0',
        'global_count_traces_sampled{sampled="false",decision="dropped"} 1.0',
        "new_trace_id_received 3.0",
        "sampling_decision_latency_count 3.0",
        "sampling_trace_removal_age_count 3.0",
        "sampling_trace_dropped_too_early 0.0",
        "sampling_policy_evaluation_error 0.0",
    ):
        assert TAIL + line in lines


async def test_the_head_sampler_counts_under_the_collectors_name():
    ids = random_ids(64)
    assembly = {"groupbytrace": {"wait_duration": "10ms"}}
    async with running({"probabilistic_sampler": {"sampling_percentage": 50}, **assembly}) as flow:
        await flow.put(*(root(trace_id) for trace_id in ids))
        await flow.settled()
        name = "otelcol_processor_probabilistic_sampler_count_traces_sampled"
        kept, dropped = (flow.sample(name + "_total", sampled=sampled) for sampled in ("true", "false"))
        assert kept + dropped == 64
        assert any(line.startswith(name + '{policy="trace_id_w3c",sampled="true"}') for line in flow.metrics())
        assert flow.sample("otelcol_processor_incoming_items_total", processor="probabilistic_sampler") == 64
        assert flow.sample("otelcol_processor_outgoing_items_total", processor="probabilistic_sampler") == kept
