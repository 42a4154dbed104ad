"""Whatever stands under the keys that conventions read: no stage raises, originals stay, once is as good as twice."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import spanbridge.processors.genai
from spanbridge.processors.attributes import as_dict, assign
from spanbridge.processors.genai import GenAi, GenAiConfig, GenAiTrace
from spanbridge.processors.types import Batch, Logs, Trace, spans

HEAD, STAGE = GenAi(GenAiConfig()), GenAiTrace(GenAiConfig())
TRACE_ID = b"\1" * 16


def _literals():
    """Every text in the package's sources that may be an attribute's key, an event's name, a field or a value."""
    found = set()
    for path in Path(spanbridge.processors.genai.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w./-]+", node.value):
                found.add(node.value)
    return found


LITERALS = _literals()
KEYS = sorted({key for key in LITERALS if not key.startswith("processors")})
ENDINGS = ["", "0.message.role", "0.message.content", "0.message.tool_calls.0.tool_call.id", "0.role", "0.content"]
ENDINGS += ["0.tool_calls.1.name", "1.tool.json_schema", "0.document.content", "x", "999999999.y", "0"]
FIELDS = sorted(key for key in LITERALS if "." not in key and len(key) < 30)

keys = st.sampled_from(KEYS).flatmap(
    lambda key: st.sampled_from(ENDINGS).map(key.__add__) if key.endswith(".") else st.just(key)
)
scalars = st.one_of(
    st.text(max_size=8),
    st.sampled_from(FIELDS),
    st.sampled_from(
        ["null", "[]", "{}", "None", "<REDACTED>", "[1", '"x"', "-1", "1e999", "NaN", "\x00", "chat", "execute_tool"]
    ),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(),
    st.booleans(),
    st.none(),
)
structures = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)


def _deep(depth):
    return "[" * depth + "]" * depth


values = st.one_of(
    structures,
    structures.map(lambda value: json.dumps(value, default=str)),
    st.binary(max_size=4),
    st.sampled_from([_deep(300), _deep(3000), '{"messages":' * 500 + "1" + "}" * 500]),
)
attributes = st.dictionaries(keys, values, max_size=12)
names = st.one_of(st.sampled_from(KEYS), st.text(max_size=5))
events = st.lists(st.tuples(names, attributes), max_size=3)
span_ids = st.integers(1, 4)
spans_of = st.tuples(names, span_ids, st.integers(0, 5), st.integers(0, 5), attributes, events)


def make(tree, resource, records, *, late):
    batch = Batch()
    resource_spans = batch.resource_spans.add()
    fill(resource_spans.resource.attributes, resource)
    for name, span_id, parent, kind, told, happened in tree:
        span = resource_spans.scope_spans.add().spans.add(
            name=name, trace_id=TRACE_ID, span_id=span_id.to_bytes(8), kind=kind, start_time_unix_nano=span_id
        )
        span.parent_span_id = parent.to_bytes(8)
        fill(span.attributes, told)
        for event_name, event in happened:
            fill(span.events.add(name=event_name).attributes, event)
    logs = Logs()
    for span_id, name, body, told in records:
        record = (
            logs.resource_logs.add()
            .scope_logs.add()
            .log_records.add(trace_id=TRACE_ID, span_id=span_id.to_bytes(8), event_name=name)
        )
        assign(record.body, body)
        fill(record.attributes, told)
    return Trace(TRACE_ID, batch, late=late, logs=logs)


def fill(target, told):
    for key, value in told.items():
        assign(target.add(key=key).value, value)


def run(trace):
    HEAD(trace.batch)
    STAGE(trace)
    return trace.batch.SerializeToString(deterministic=True)


RELAXED = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
everything = given(
    st.lists(spans_of, min_size=1, max_size=4),
    attributes,
    st.lists(st.tuples(span_ids, names, values, attributes), max_size=2),
    st.booleans(),
)


@RELAXED
@everything
def test_no_value_under_any_key_raises_and_running_again_changes_nothing(tree, resource, records, late):
    trace = make(tree, resource, records, late=late)
    once = run(trace)
    tags = dict(trace.tags)

    assert run(trace) == once
    assert trace.tags == tags


@RELAXED
@everything
def test_what_the_spans_said_is_still_there(tree, resource, records, late):
    trace = make(tree, resource, records, late=late)
    before = sorted(repr(_originals(span)) for span in spans(trace.batch))
    run(trace)

    assert sorted(repr(_originals(span)) for span in spans(trace.batch)) == before


@RELAXED
@everything
def test_what_mlflow_reads_as_an_object_is_one(tree, resource, records, late):
    """`mlflow.llm.cost` that is no object makes MLflow refuse the whole request."""
    trace = make(tree, resource, records, late=late)
    given_before = [set(as_dict(span.attributes)) for span in sorted(spans(trace.batch), key=lambda span: span.span_id)]
    run(trace)

    for span, own in zip(sorted(spans(trace.batch), key=lambda span: span.span_id), given_before, strict=True):
        told = as_dict(span.attributes)
        for key, kind in (
            ("mlflow.llm.cost", dict),
            ("mlflow.chat.tools", list),
            ("mlflow.chat.tokenUsage", (dict, type(None))),
        ):
            if key in told and key not in own:
                assert isinstance(json.loads(told[key]), kind)
        assert all(isinstance(told[key], str) for key in told if key.startswith("mlflow.") and key not in own)


def _originals(span):
    """All attributes but those that the stages write."""
    own = ("session.id", "user.id")
    return {
        key: value
        for key, value in as_dict(span.attributes).items()
        if not key.startswith("mlflow.") and key not in own
    }
