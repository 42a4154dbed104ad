"""Attribute values become the text that MLflow stores, to the byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.store.tracking.sqlalchemy_store import _try_parse_json_string
from mlflow.tracing.otel.translation import sanitize_attributes
from mlflow.tracing.utils import dump_span_attribute_value
from mlflow.tracing.utils.otlp import _decode_otel_proto_anyvalue
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList

from spanbridge.collector.exporters.mlflow.database.bulk.values import Unfit, mapping, members, plain, stored
from spanbridge.processors.attributes import assign

text = st.text(st.characters(codec="utf-8"))
scalars = st.one_of(text, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.none(), st.binary())
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=20)
json_values = st.recursive(
    st.one_of(st.text(), st.booleans(), st.integers(), st.floats(), st.none()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
nearly_json = st.builds(
    lambda before, value, ascii_only, after: before + json.dumps(value, ensure_ascii=ascii_only) + after,
    st.sampled_from(["", " ", "\n\t ", "\x0b", '"', "["]),
    json_values,
    st.booleans(),
    st.sampled_from(["", "\r\n", "}", '"', "\x00"]),
).map(lambda made: made.encode("utf-8", "replace").decode())


def any_value(value: object) -> AnyValue:
    holder = AnyValue()
    assign(holder, value)
    return holder


def as_mlflow_stores(value: AnyValue) -> str:
    return sanitize_attributes({"key": dump_span_attribute_value(_decode_otel_proto_anyvalue(value))})["key"]


@given(values | nearly_json)
def test_a_value_is_stored_as_mlflow_stores_it(value: object):
    holder = any_value(value)
    assert stored(holder.string_value or holder) == as_mlflow_stores(holder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "plain",
        "null",
        "12",
        '"one layer"',
        r'"\"two layers\""',
        '{"a": NaN}',
        "[Infinity]",
        '"\\ud800"',
        "[1e999, 123456789012345678901234567890]",
        '{"a": 1} trailing',
        "[INFO] started",
        '{"a": 1,}',
        "['single']",
        '"unclosed',
        '\ufeff{"bom": 1}',
        '"control \x01 character"',
        '{"dup": 1, "dup": 2}',
    ],
)
def test_text_that_may_be_json(text: str):
    holder = AnyValue(string_value=text)
    assert stored(holder.string_value or holder) == as_mlflow_stores(holder)
    assert plain(stored(holder.string_value or holder)) == _try_parse_json_string(as_mlflow_stores(holder))


@given(st.dictionaries(st.text(), st.text()))
@example({})
@example({'a",\n  "b': ',\n  "', "c": '"d",\n  '})
@example({"half": "\ud800"})
@example({"all": "".join(map(chr, range(0xD800)))})
def test_texts_become_members_as_json_writes_them(texts: dict[str, str]):
    assert members(texts) == json.dumps(texts, ensure_ascii=False)


def test_of_a_repeated_key_the_last_counts_at_the_place_of_the_first():
    pairs = [KeyValue(key=key, value=AnyValue(int_value=number)) for number, key in enumerate(["a", "b", "a"])]
    holder = AnyValue(kvlist_value=KeyValueList(values=pairs))
    assert stored(holder.string_value or holder) == as_mlflow_stores(holder) == '{"a": 2, "b": 1}'


@pytest.mark.parametrize("text", ["[" + "1" * 5000 + ", NaN]", "[" * 100_000])
def test_json_on_which_mlflow_gives_up_is_unfit(text: str):
    with pytest.raises((ValueError, RecursionError)) as refused:
        as_mlflow_stores(AnyValue(string_value=text))
    assert not isinstance(refused.value, json.JSONDecodeError)
    with pytest.raises(Unfit):
        stored(text)


@given(nearly_json | text)
@example('""\r\n')
def test_plain_text_is_what_mlflow_reads(value: str):
    kept = stored(value)
    assert plain(kept) == _try_parse_json_string(kept)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ('"text"', None),
        ("[1]", None),
        ("null", None),
        ("{}", {}),
        (' {"a": 1}', {"a": 1}),
        ('{"a": NaN}', {"a": pytest.approx(float("nan"), nan_ok=True)}),
    ],
)
def test_a_stored_object_can_be_read(text: str | None, expected: dict[str, object] | None):
    assert mapping(text) == expected
