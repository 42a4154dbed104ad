"""What the MLflow exporter makes of spans and values that MLflow can't take."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.collector.exporters.mlflow.record.sanitize import KEPT, by_key, clean_already, clean_span
from spanbridge.collector.exporters.mlflow.record.tags import clean_tags, tag_key
from spanbridge.collector.exporters.mlflow.record.values import KeyRule, clean_value, plain_text, text
from spanbridge.processors.attributes import as_dict, assign, put, to_python
from spanbridge.processors.genai import GenAi, GenAiConfig
from spanbridge.processors.types import spans
from tests.samples.traces import bench_trace


def cleaned(value):
    found = AnyValue()
    assign(found, value)
    clean_value(found)
    return to_python(found)


def attributes_after(attributes):
    span = Span(name="n", start_time_unix_nano=1)
    for key, value in attributes.items():
        put(span.attributes, key, value)
    clean_span(span)
    return as_dict(span.attributes)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain ä", "plain ä"),
        (1, 1),
        (True, True),
        (0.5, 0.5),
        (None, None),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (b"\x00\xff", "AP8="),
        ([math.inf, {"a": [b"x", math.nan]}], ["Infinity", {"a": ["eA==", "NaN"]}]),
    ],
)
def test_values(value, expected):
    assert cleaned(value) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("a\0b", "a\ufffdb"),
        (r'{"a": "\u0000"}', '{"a": "\ufffd"}'),
        (r'{"a": "\\u0000"}', r'{"a": "\\u0000"}'),  # an escaped backslash: the text says \u0000
        (r'{"a": "\\\u0000"}', '{"a": "\\\\\ufffd"}'),
        (r'["\ud83d"]', '["\ufffd"]'),
        (r'["\uDE00\ud83d"]', '["\ufffd\ufffd"]'),
        (r'["\ud83d\ude00"]', r'["\ud83d\ude00"]'),
        (r'["\ud83d\ud83d\ude00"]', '["\ufffd\\ud83d\\ude00"]'),
        (r'["\ud55c\uad6d"]', r'["\ud55c\uad6d"]'),  # Hangul, no surrogates
        (r're.compile("\ud83d|\u0000")', r're.compile("\ud83d|\u0000")'),  # code, no JSON
        ("[" * 300 + "]" * 300, "[" * 300 + "]" * 300),
        ("[" * 500, "\ufeff" + "[" * 500),
        (json.dumps("[" * 500), "\ufeff" + json.dumps("[" * 500)),
        ('{"a":' * 500, "\ufeff" + '{"a":' * 500),
        ("[" + "[]," * 500 + "1]", "[" + "[]," * 500 + "1]"),
        ('["' + "[" * 500 + '"]', '["' + "[" * 500 + '"]'),  # brackets in a text are no nesting
        ("9" * 4300, "9" * 4300),
        ("9" * 4301, "\ufeff" + "9" * 4301),
        (f"[1, {'9' * 4301}]", f"\ufeff[1, {'9' * 4301}]"),
        ("x" + "9" * 4301, "x" + "9" * 4301),
    ],
)
def test_texts(found, expected):
    assert text(found) == expected


pieces = st.lists(st.sampled_from(["\\", "\\u0000", "\\ud83d", "\\ude00", "\0", "a", "u0000"])).map("".join)


@given(st.text() | pieces.map(lambda inner: f'["{inner}"]'))
def test_a_text_can_be_stored_whatever_is_decoded_from_it(found):
    """No NUL and no lone surrogate, neither in the text nor in any JSON in it."""
    safe = text(found.encode("utf-8", "replace").decode())
    try:
        decoded = json.loads(safe)
    except json.JSONDecodeError:
        decoded = ""
    for each in (safe, *texts(decoded)):
        assert "\0" not in each
        each.encode()


def texts(decoded):
    if isinstance(decoded, str):
        yield decoded
    elif isinstance(decoded, (list, dict)):
        for item in decoded:
            yield from texts(item)
        for item in decoded.values() if isinstance(decoded, dict) else ():
            yield from texts(item)


def test_a_text_without_fault_is_the_same_object():
    found = "x" * 1000
    assert text(found) is found


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("session.id", "s" * 300, "s" * 250),
        ("session.id", '"quoted by the SDK"', "quoted by the SDK"),
        ("session.id", 42, "42"),
        ("session.id", "", None),  # an empty one would hide gen_ai.conversation.id
        ("session.id", None, None),
        ("gen_ai.conversation.id", "", None),
        ("user.id", ["a"], '["a"]'),
        ("mlflow.spanType", '"LLM"', "LLM"),
        ("mlflow.spanType", "T" * 600, "T" * 500),
        ("mlflow.spanType", ["LLM"], None),
        ("mlflow.spanType", 5, None),
        ("gen_ai.operation.name", ["chat"], "chat"),
        ("gen_ai.operation.name", '["chat"]', "chat"),
        ("gen_ai.operation.name", "chat", "chat"),
        ("gen_ai.operation.name", ["a", "b"], '\ufeff["a","b"]'),
        ("ai.operationId", ' {"a": NaN}', '\ufeff{"a": NaN}'),
        ("span.type", 5, 5),
        ("openinference.span.kind", {"a": 1}, '\ufeff{"a":1}'),
        ("mlflow.llm.cost", "[]", None),
        ("mlflow.llm.cost", '{"input_cost": "much"}', None),
        ("mlflow.llm.cost", '{"input_cost": 1, "output_cost": "0.5", "x": []}', '{"input_cost":1.0,"output_cost":0.5}'),
        ("mlflow.llm.cost", {"total_cost": 0.25, "input_cost": math.nan}, '{"total_cost":0.25}'),
        (
            "mlflow.chat.tokenUsage",
            '{"input_tokens": 3.0, "output_tokens": "4"}',
            '{"input_tokens":3,"output_tokens":4}',
        ),
        ("mlflow.chat.tokenUsage", "7", None),
        ("ai.prompt.tools", 5, [5]),
        ("ai.prompt.tools", "5", ["5"]),
        ("ai.prompt.tools", None, [None]),
        ("ai.prompt.tools", ["{}"], ["{}"]),
        ("ai.prompt.tools", '["{}"]', ["{}"]),
        ("ai.prompt.tools", json.dumps(["[" * 500]), ["\ufeff" + "[" * 500]),
        ("mlflow.traceRequestId", "tr-1", None),
        ("mlflow.experimentId", "1", None),
        ("mlflow.trace.spansLocation", "x", None),
        ("mlflow.traceTag.anything", "x", None),
        ("mlflow.spanInputs", {"q": [1]}, {"q": [1]}),
    ],
)
def test_attributes_mlflow_reads(key, value, expected):
    assert attributes_after({key: value}).get(key) == expected


def test_trace_metadata_on_a_span_becomes_what_mlflow_reads_it_from():
    assert attributes_after({"mlflow.trace.session": "s", "mlflow.trace.user": "u", "user.id": "own"}) == {
        "session.id": "s",
        "user.id": "own",
    }


def test_what_describes_a_span_is_kept():
    given_ = dict.fromkeys(KEPT, '{"input_tokens": 1, "input_cost": 1}')
    assert attributes_after(given_).keys() == KEPT


def test_events_and_links():
    span = Span(name="n\0", start_time_unix_nano=7)
    span.status.message = "m\0"
    put(span.events.add(name="e\0", time_unix_nano=1 << 63).attributes, "x", math.nan)
    span.links.add(trace_id=b"short", span_id=b"s" * 8)
    put(span.links.add(trace_id=b"t" * 16, span_id=b"s" * 8).attributes, "b", b"\xff")

    clean_span(span)

    assert (span.name, span.status.message, span.events[0].name) == ("n\ufffd", "m\ufffd", "e\ufffd")
    assert (span.events[0].time_unix_nano, as_dict(span.events[0].attributes)) == (7, {"x": "NaN"})
    assert [(link.trace_id, as_dict(link.attributes)) for link in span.links] == [(b"t" * 16, {"b": "/w=="})]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("service.name", "service.name"),
        ("a b/c:d-e_é", "a b/c:d-e_é"),
        ("a@b", "a_b"),
        ("a\nb\0", "a_b_"),
        ("/abs", "_abs"),
        ("a//b", "a__b"),
        ("../up", "_up"),
        ("a/", "a_"),
        (".", ""),
        ("", ""),
        ("k" * 300, "k" * 250),
    ],
)
def test_tag_keys(key, expected):
    assert tag_key(key) == expected


def test_tags_that_mlflow_alone_writes_are_left_out():
    assert clean_tags([("mlflow.trace.spansLocation", "x"), ("a", "v" * 9_000)]) == {"a": "v" * 8_000}


def test_plain_text():
    def of(value):
        found = AnyValue()
        assign(found, value)
        return plain_text(found)

    assert [of(v) for v in ("a", 1, True, [1, "b"], {"k": b"x"}, None)] == [
        "a",
        "1",
        "true",
        '[1,"b"]',
        '{"k":"eA=="}',
        "",
    ]


odd_texts = st.sampled_from(
    [
        *("chat", "", "[1]", '"quoted"', " x", "a\0b", r'{"a": "\u0000"}', r'["\ud83d\ude00"]', "[" * 401, "1" * 4301),
        *("x" * 251, "x" * 501, '{"input_tokens":1,"output_tokens":2}', '{"output_tokens":2,"input_tokens":1}', "{}"),
    ]
)
odd_values = st.recursive(
    odd_texts
    | st.text(max_size=5)
    | st.integers(-9, 9)
    | st.floats()
    | st.booleans()
    | st.none()
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_texts, inner, max_size=2),
    max_leaves=4,
)
odd_keys = st.sampled_from(
    [
        *sorted(KEPT),
        *("mlflow.other", "mlflow.trace.session", "session.id", "user.id", "gen_ai.operation.name"),
        *("ai.prompt.tools", "span.type", "plain", "other", ""),
    ]
)


@given(
    st.lists(st.tuples(odd_keys, odd_values), max_size=4),
    st.sampled_from([*["n"] * 6, "n\0", "n" * 4097]),
    st.sampled_from([*[""] * 6, "m\0"]),
)
@example([("ai.prompt.tools", "")], "n", "")  # becomes a list, whose text reads as empty too
@settings(max_examples=400)
def test_a_span_that_is_clean_already_is_left_as_it_is(pairs, name, message):
    span = Span(name=name, start_time_unix_nano=1)
    if message:
        span.status.message = message
    for key, value in pairs:
        assign(span.attributes.add(key=key).value, value)
    found = clean_already(span)
    event("clean" if found is not None else "not certain")
    if found is None:
        return
    before = span.SerializeToString()
    clean_span(span)
    assert span.SerializeToString() == before
    assert found == by_key(span.attributes)


@pytest.mark.parametrize("number", range(8))
def test_the_spans_of_the_bench_mix_are_clean_already(number):
    normalized = GenAi(GenAiConfig())(bench_trace(number).batch)
    assert all(clean_already(span) is not None for span in spans(normalized))


def test_what_is_remembered_of_keys_is_bounded():
    asked = []
    rule = KeyRule(lambda key: asked.append(key) or key.startswith("a"))
    assert [rule[key] for key in ("a", "b", "a")] == [True, False, True]
    assert asked == ["a", "b"]
    assert rule["a" * 100_000]
    assert len(rule) == 2, "a key that is a document"
    for number in range(25_000):
        assert not rule[f"key {number}"]
    assert len(rule) <= 10_000
