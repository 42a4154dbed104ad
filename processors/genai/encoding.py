"""Attributes encoded as protobuf: to merge all of a span's new ones as bytes is several times faster than to add them.

Field numbers: opentelemetry-proto trace.proto (Span.attributes = 9) and common.proto (KeyValue.key = 1,
KeyValue.value = 2, AnyValue.string_value = 1), each of wire type 2, whose length comes before the content.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from spanbridge.processors.genai.values import to_json_bytes

_ATTRIBUTES, _KEY, _VALUE, _STRING = (bytes([number << 3 | 2]) for number in (9, 1, 2, 1))
_MAX_REMEMBERED = 8192
"""A few keys with texts of up to some thousand bytes: beyond, what is done with the text takes longer than this."""


def attribute(key: str, found: Any) -> tuple[bytes, bytes]:
    """Return the bytes that add an attribute to a span by `Span.MergeFromString`, as two pieces to be joined.

    Args:
        key: The attribute's key.
        found: Its value: a text is written as it is, anything else as JSON.
    """
    text = found.encode() if isinstance(found, str) else to_json_bytes(found)
    return _before(key, len(text)), text


@lru_cache(_MAX_REMEMBERED)
def _before(key: str, length: int) -> bytes:
    """Return all that comes before a text of so many bytes."""
    encoded = key.encode()
    head = _KEY + _varint(len(encoded)) + encoded + _VALUE
    text = _STRING + _varint(length)
    value = _varint(len(text) + length)
    return _ATTRIBUTES + _varint(len(head) + len(value) + len(text) + length) + head + value + text


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:  # noqa: PLR2004  seven bits a byte, the eighth says that more follow
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
