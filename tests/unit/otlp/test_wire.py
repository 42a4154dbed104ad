"""Cutting serialized messages apart, whatever is in them."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.collector.flow.fragments import fragments
from spanbridge.collector.journal import Entry, Row
from spanbridge.collector.otlp.wire import field, varint, wrapped
from spanbridge.processors.types import Batch, Context, spans
from tests.samples.otlp_requests import message
from tests.samples.otlp_requests import varint as encoded

TRACE, ID, PARENT = b"t" * 16, b"i" * 8, b"p" * 8


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
def test_a_number_reads_as_it_was_written(number, rest):
    data = encoded(number) + rest
    assert varint(data, 0, len(data)) == (number, len(data) - len(rest))


@given(st.integers(1, 15), st.binary(max_size=300))
def test_a_field_reads_as_it_was_wrapped(number, value):
    data = wrapped(number, value)
    found, begin, end = field(data, 0, len(data))
    assert (found, data[begin:end], end) == (number, value, len(data))


@given(st.binary(min_size=1, max_size=40))
def test_whatever_is_no_message_is_told_so(data):
    at = 0
    try:
        while at < len(data):
            _, value, stop = field(data, at, len(data))
            assert at < value <= stop <= len(data)
            at = stop
    except DecodeError:
        pass


def fragment_of(span: bytes, *around: bytes):
    """The fragment of a request with one span in serialized form, and fields beside it in its scope."""
    scope = b"".join(around) + wrapped(2, span)
    [fragment] = fragments(Row(1, Entry(wrapped(1, wrapped(2, scope)), Context())))
    return fragment


IDS = wrapped(1, TRACE) + wrapped(2, ID)


@pytest.mark.parametrize(
    ("span", "has_root"),
    [
        (IDS, True),
        (IDS + wrapped(4, b""), True),
        (IDS + wrapped(4, bytes(8)), True),
        (IDS + wrapped(4, PARENT), False),
        (IDS + wrapped(3, b"k=v"), True),
        (IDS + wrapped(3, b"k=" + b"v" * 200) + wrapped(4, PARENT), False),
        (IDS + wrapped(5, b"name"), True),
        (IDS + wrapped(4, PARENT) + wrapped(5, b"name"), False),
        # not as protobuf writes it, but it may be
        (wrapped(4, PARENT) + wrapped(5, b"name") + IDS, False),
        (wrapped(2, ID) + wrapped(1, TRACE) + wrapped(4, PARENT), False),
        (wrapped(5, b"name") + IDS, True),
        # fields that nobody knows yet
        (IDS + wrapped(4, PARENT) + message(1000, payload=b"new") + encoded(99 << 3) + encoded(300), False),
        (IDS + encoded(98 << 3 | 1) + bytes(8) + encoded(97 << 3 | 5) + bytes(4), True),
    ],
)
def test_a_span_is_known_by_its_trace_and_as_a_root(span, has_root):
    fragment = fragment_of(span, message(1000, payload=b"new"))

    assert (fragment.trace_id, fragment.spans, fragment.has_root) == (TRACE, 1, has_root)
    [decoded] = spans(Batch.FromString(fragment.payload))
    assert (decoded.trace_id, decoded.span_id) == (TRACE, ID)
    assert fragment.payload.count(span) == 1
    assert b"new" in fragment.payload


@pytest.mark.parametrize("payload", [b"\x0a\x05abc", b"\x0a", b"\xff" * 12, wrapped(1, b"\x12\x7f"), b"\x0b\x0c"])
def test_what_is_no_request_is_not_taken_apart(payload):
    with pytest.raises(DecodeError):
        fragments(Row(1, Entry(payload, Context())))
