"""Generated traces, most of them odd: the bulk writer and MLflow's endpoint leave the same rows.

What MLflow refuses is handed back, to be refused by MLflow's store, or was taken in all the same and can be read.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from spanbridge.processors.types import Batch, Trace
from spanbridge.processors.types import spans as all_spans
from tests.integration.mlflow.bulk.stores import (
    DatabasesOf,
    Pair,
    left,
    log_by_endpoint,
)
from tests.samples.traces import START_NS, attributes

NUMBERS = itertools.count(1)

text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
scalars = st.one_of(
    text, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.none(), st.binary(max_size=5), st.just("")
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=6
)
plain_values = st.recursive(
    st.one_of(text, st.booleans(), st.integers(), st.floats(), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
json_text = st.builds(json.dumps, plain_values) | st.builds(lambda v: json.dumps(v, ensure_ascii=False), plain_values)
almost_json = st.builds(
    lambda before, inner, after: before + inner + after,
    st.sampled_from(["", " ", "\n\t", "[", '"', "{"]),
    json_text,
    st.sampled_from(["", " ", "]", '"', "}", "\x0c"]),
)
huge = st.builds(lambda word, count: word * count, text, st.integers(200, 3000))
anything = values | json_text | almost_json | huge

counts = st.integers(-5, 10**6) | st.sampled_from([0, 2**63 - 1, 2**63]) | st.floats(0, 10) | st.none() | text
amounts = st.floats(0, 1) | st.sampled_from([0, 1e308, float("nan"), float("inf")]) | st.none()
usage = st.dictionaries(
    st.sampled_from(
        ["input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]
    ),
    st.integers(0, 10**6) | counts,
)
cost = st.dictionaries(st.sampled_from(["input_cost", "output_cost", "total_cost"]), st.floats(0, 1) | amounts)
models = st.sampled_from(
    ["gpt-4o-mini", "gpt-4o", "claude-3-5-sonnet-20241022", "openai/gpt-4o", "nobody's", "", "null"]
)
message = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "tool"]),
        "content": text
        | huge
        | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": text | plain_values}), max_size=2),
    }
)
chat = st.one_of(
    st.fixed_dictionaries({"messages": st.lists(message | plain_values, max_size=3), "model": models | plain_values}),
    st.fixed_dictionaries({"choices": st.lists(st.fixed_dictionaries({"message": message}), max_size=2)}),
    st.fixed_dictionaries({"input": st.lists(message, max_size=2)}),
)
names = st.sampled_from(["alice", "Größe 🙂", "x" * 249, "x" * 251, '"quoted"', "a\nb\\c"])

KNOWN = {
    "mlflow.spanType": st.sampled_from(["LLM", "UNKNOWN", '"LLM"', "AGENT", "made up", ""]) | anything,
    "mlflow.spanInputs": st.builds(json.dumps, chat) | chat | anything,
    "mlflow.spanOutputs": st.builds(json.dumps, chat) | chat | anything,
    "mlflow.chat.tokenUsage": st.builds(json.dumps, usage) | usage | anything,
    "mlflow.llm.cost": st.builds(json.dumps, cost) | cost | st.builds(json.dumps, cost) | text,
    "mlflow.llm.model": models | anything,
    "mlflow.llm.provider": st.sampled_from(["openai", "OpenAI", "anthropic", "nobody"]) | anything,
    "mlflow.message.format": anything,
    "mlflow.chat.tools": json_text,
    "mlflow.traceRequestId": text,
    "mlflow.traceTag.mlflow.traceName": names | anything,
    "mlflow.traceTag.mlflow.trace.spansLocation": text,
    "mlflow.traceTag.team": names | anything,
    "mlflow.traceTag.bad@key": text,
    "session.id": names | anything,
    "gen_ai.conversation.id": names | anything,
    "user.id": names | anything,
    "service.name": text,
    # what MLflow's translators read
    "gen_ai.operation.name": st.sampled_from(["chat", "execute_tool", "invoke_agent", "llm_call"]) | text,
    "langfuse.observation.type": anything,
    "gen_ai.agent.name": st.sampled_from(["gemini-cli", "other"]),
    "gen_ai.request.model": models | anything,
    "gen_ai.response.model": models | anything,
    "gen_ai.system": st.just("openai") | anything,
    "gen_ai.provider.name": st.just("openai") | anything,
    "gen_ai.usage.input_tokens": st.integers(0, 9999) | anything,
    "gen_ai.usage.output_tokens": st.integers(0, 9999) | anything,
    "gen_ai.usage.cache_read.input_tokens": st.integers(0, 9) | anything,
    "gen_ai.usage.prompt_tokens": anything,
    "gen_ai.input.messages": st.builds(json.dumps, st.lists(message, max_size=2)) | anything,
    "gen_ai.output.messages": st.builds(json.dumps, st.lists(message, max_size=2)) | anything,
    "gen_ai.tool.definitions": anything,
    "gen_ai.tool.call.arguments": anything,
    "gen_ai.prompt.0.content": anything,
    "gen_ai.completion.0.content": anything,
    "openinference.span.kind": st.sampled_from(["LLM", "CHAIN", "nope"]) | text,
    "input.value": anything,
    "output.value": anything,
    "llm.token_count.prompt": st.integers(0, 99) | anything,
    "llm.usage.total_tokens": anything,
    "llm.model_name": models,
    "llm.provider": text,
    "traceloop.span.kind": st.sampled_from(["workflow", "tool"]),
    "traceloop.entity.input": anything,
    "ai.operationId": st.sampled_from(["ai.generateText.doGenerate", "ai.toolCall"]),
    "ai.prompt.messages": json_text,
    "ai.response.text": text,
    "ai.toolCall.args": json_text,
    "span.type": st.sampled_from(["llm_request", "tool", "agent", "claude_code.interaction"]) | text,
    "entity.type": st.sampled_from(["agent", "x"]),
    "input_tokens": st.integers(0, 99),
    "user_prompt": text,
    "new_context": text,
    "full_command": text,
    "input": anything,
    "output": anything,
    "lk.user_input": text,
    "lk.function_tools": values,
    "lmnr.span.type": st.sampled_from(["LLM", "TOOL"]),
    "lmnr.span.input": anything,
    "langfuse.observation.output": anything,
    "usage.prompt_tokens": st.integers(0, 99),
    "voltagent.operation_id": text,
}

span_values = st.lists(
    st.sampled_from(sorted(KNOWN)).flatmap(lambda key: st.tuples(st.just(key), KNOWN[key])) | st.tuples(text, anything),
    max_size=9,
)
event_names = st.sampled_from(
    ["gen_ai.user.message", "gen_ai.choice", "gen_ai.content.prompt", "tool.output", "exception", "other"]
)
event_values = st.dictionaries(
    st.sampled_from(["content", "role", "gen_ai.prompt", "output", "exception.message"]) | text, anything, max_size=3
)
resources = st.dictionaries(
    st.sampled_from(["service.name", "host.name", "telemetry.sdk.name", "mlflow.x", "a b", "bad@", "é", ""]) | text,
    st.sampled_from(["gemini-cli", "web", ""]) | text | plain_values | values,
    max_size=3,
)
likely_times = st.integers(START_NS, START_NS + 10**10)
times = st.one_of(*[likely_times] * 9, st.sampled_from([0, 1, 2**63 - 1]))
poison = st.sampled_from([{}] * 40 + [{"name": "a\x00b"}, {"start_time_unix_nano": 2**63}, {"span_id": b"short"}])


@st.composite
def generated_spans(draw: st.DrawFn, trace_id: bytes) -> list[Span]:
    ids = [bytes([position + 1]) * 8 for position in range(draw(st.integers(1, 6)))]
    parents = st.sampled_from([b"", b"", bytes(8), b"elsewher", *ids])
    return [
        Span(
            trace_id=trace_id,
            parent_span_id=draw(parents),
            **{"span_id": span_id, "name": draw(text), "start_time_unix_nano": draw(times)} | draw(poison),
            end_time_unix_nano=draw(times),
            status=Status(code=draw(st.sampled_from([0, 1, 2, 2])), message=draw(text)),
            attributes=[a for key, value in draw(span_values) for a in attributes({key: value})],
            events=[
                Span.Event(
                    name=draw(event_names), time_unix_nano=draw(times), attributes=attributes(draw(event_values))
                )
                for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2])))
            ],
            links=[
                Span.Link(
                    trace_id=b"L" * 16, span_id=draw(st.binary(max_size=8)), attributes=attributes(draw(event_values))
                )
                for _ in range(draw(st.sampled_from([0, 0, 0, 1])))
            ],
        )
        for span_id in draw(st.permutations(ids))
    ]


@st.composite
def generated_traces(draw: st.DrawFn) -> Trace:
    trace_id = next(NUMBERS).to_bytes(16)
    spans = draw(generated_spans(trace_id))
    cut = draw(st.integers(0, len(spans)))
    parts = [part for part in (spans[:cut], spans[cut:]) if part]
    batch = Batch(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=attributes(draw(resources))), scope_spans=[ScopeSpans(spans=part)]
            )
            for part in parts
        ]
    )
    return Trace(trace_id, batch)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"], name="lasting_pair")
def fixture_lasting_pair(request: pytest.FixtureRequest, databases_of: DatabasesOf) -> Iterator[Pair]:
    with databases_of(request.param).pair() as pair:
        yield pair


@given(trace=generated_traces(), run_id=st.sampled_from(["", "", "r" * 32]))
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_a_generated_trace(lasting_pair: Pair, trace: Trace, run_id: str):
    pair, before = lasting_pair, trace.batch.SerializeToString()
    status = log_by_endpoint(pair.truth, trace.batch, run_id)
    rest = left(pair.writer, [trace], run_id=run_id)
    assert trace.batch.SerializeToString() == before
    event(f"MLflow {status}, {'handed back' if rest else 'in bulk'}")
    if rest:
        assert log_by_endpoint(pair.ours, trace.batch, run_id) == status
    if status == 200:
        pair.assert_equal([trace.trace_id])
    elif not rest:
        stored = pair.ours.get_trace(f"tr-{trace.trace_id.hex()}")
        assert len(stored.data.spans) == len(list(all_spans(trace.batch)))
