"""`Trace.read`: spans read by one processor and used by the next say what reading them again would say."""

from __future__ import annotations

import pytest

from spanbridge.processors.attributes import put, to_python
from spanbridge.processors.genai import GenAi, GenAiConfig, GenAiTrace
from spanbridge.processors.tag_schema import TagSchema, TagSchemaConfig
from spanbridge.processors.types import Trace, spans
from tests.samples.spans import new_id, trace_batch
from tests.unit.flow.test_flow import flowing
from tests.unit.processors.genai.test_golden import NAMES, given

CONFIGS = {
    "usual": GenAiConfig(),
    "without originals": GenAiConfig(remove_originals=True),
}


def read_by_genai(name, config):
    trace = given(name)
    GenAi(config)(trace.batch)
    return GenAiTrace(config)(trace)


def read_as(trace, read):
    """What the spans that were read hold, in their order."""
    assert [one.span.span_id for one in read] == [span.span_id for span in spans(trace.batch)]
    return [{key: to_python(one.attributes[place].value) for key, place in one.places.items()} for one in read]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("name", NAMES)
def test_genai_leaves_its_spans_as_they_are_or_not_at_all(name, config):
    trace = read_by_genai(name, config)
    if trace.read is not None:
        found = [{one.key: to_python(one.value) for one in span.attributes} for span in spans(trace.batch)]
        assert read_as(trace, trace.read) == found


def test_genai_leaves_its_spans():
    assert all(read_by_genai(name, CONFIGS["usual"]).read for name in ("otel", "openinference"))


@pytest.mark.parametrize("name", NAMES)
def test_tags_are_the_same_whoever_read_the_spans(name):
    trace = read_by_genai(name, CONFIGS["usual"])
    again = Trace(trace.trace_id, trace.batch, tags=dict(trace.tags), metadata=dict(trace.metadata))
    schema = TagSchema(TagSchemaConfig(), {})

    assert schema(trace).tags == schema(again).tags


async def test_only_the_next_processor_has_what_was_read():
    seen = []

    def look(trace):
        seen.append(trace.read is not None)
        put(next(spans(trace.batch)).attributes, "edited", "unsaid")
        return trace

    def fail(trace):
        GenAiTrace(GenAiConfig())(trace)
        raise ValueError

    def read(trace):
        return GenAiTrace(GenAiConfig())(trace)

    def look_again(trace):
        return look(trace)

    async with flowing(stages=[look, read, look, look_again, fail, look]) as ground:
        await ground.put(trace_batch(new_id(16), size=1))
        await ground.settled()
    assert seen == [False, True, False, False]


async def test_what_was_read_is_not_kept_while_a_trace_waits_to_be_sent():
    sent = []

    def read(trace):
        sent.append(trace)
        return GenAiTrace(GenAiConfig())(trace)

    async with flowing(stages=[read]) as ground:
        await ground.put(trace_batch(new_id(16), size=1))
        await ground.settled()
    assert [trace.read for trace in sent] == [None]
