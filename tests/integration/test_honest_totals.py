"""Metrics of all spans, taken before sampling: a request counts when it is committed, however often it was refused."""

import pytest

from spanbridge.collector.errors import Busy
from spanbridge.collector.journal.memory import MemoryJournal
from spanbridge.processors.attributes import put
from spanbridge.processors.types import spans
from tests.flows import running
from tests.samples.spans import new_id, trace_batch

SAMPLED = {"span_metrics": {}, "probabilistic_sampler": {"sampling_percentage": 0.0001}, "groupbytrace": {}}
ALL = {"span_metrics": {}, "groupbytrace": {"wait_duration": "10ms"}}


def calls(flow):
    return flow.sample("traces_span_metrics_calls_total")


async def test_spans_that_are_dropped_at_once_count():
    async with running(SAMPLED) as flow:
        for _ in range(50):
            await flow.put(trace_batch(new_id(16), 7))
        assert (calls(flow), flow.journal.state().rows) == (350, 0)


async def test_a_refused_request_counts_once_it_is_taken():
    first, second = trace_batch(size=3, name="first"), trace_batch(size=5, name="second")
    journal = MemoryJournal(capacity=first.ByteSize() + second.ByteSize() - 1)
    async with running(ALL, journal=journal) as flow:
        await flow.put(first, read=False)
        for _ in range(3):
            with pytest.raises(Busy):
                await flow.put(second, read=False)
        assert calls(flow) == 3
        await flow.settled()
        await flow.put(second)
        assert calls(flow) == 8
        assert flow.sample("traces_span_metrics_calls_total", span_name="second") == 1


async def test_what_is_counted_is_what_was_sent_not_what_later_stages_make_of_it():
    batch = trace_batch(size=1)
    for key, value in (("gen_ai.operation.name", "chat"), ("gen_ai.usage.input_tokens", 40)):
        put(next(spans(batch)).attributes, key, value)
    async with running({"span_metrics": {}, "genai": {"remove_originals": True}, "groupbytrace": {}}) as flow:
        await flow.put(batch)
        assert flow.sample("gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 40
