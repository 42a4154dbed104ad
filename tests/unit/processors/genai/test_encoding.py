"""Attributes written as bytes are what protobuf itself would have written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.processors.genai.encoding import attribute

LENGTHS = [0, 1, 63, 64, 65, 110, 126, 127, 128, 129, 16_365, 16_383, 16_384, 2_097_152]


@given(st.lists(st.tuples(st.text(max_size=200), st.text()), max_size=4))
def test_what_is_merged_stands_behind_what_there_was(told):
    merged, expected = Span(name="chat"), Span(name="chat")
    for span in (merged, expected):
        span.attributes.add(key="first").value.int_value = 1
    merged.MergeFromString(b"".join(piece for key, text in told for piece in attribute(key, text)))
    for key, text in told:
        expected.attributes.add(key=key).value.string_value = text

    assert merged == expected


@pytest.mark.parametrize("length", LENGTHS)
def test_every_length_is_told_right(length):
    span = Span.FromString(b"".join(attribute("mlflow.spanInputs", "ä" + "x" * length)))
    assert span.attributes[0].value.string_value == "ä" + "x" * length


@pytest.mark.parametrize(
    ("found", "text"), [({"a": [1, None]}, '{"a":[1,null]}'), (3, "3"), (b"\xff", '"/w=="'), ("", "")]
)
def test_what_is_no_text_is_written_as_json(found, text):
    span = Span.FromString(b"".join(attribute("key", found)))
    assert [(one.key, one.value.string_value) for one in span.attributes] == [("key", text)]
    assert span.attributes[0].value.WhichOneof("value") == "string_value"
