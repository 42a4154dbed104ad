"""Attributes as protobuf's bytes: a span takes in all of them at once, in a fraction of the time that messages take.

Field numbers: opentelemetry-proto trace.proto (Span.attributes = 9) and common.proto (KeyValue.key = 1,
KeyValue.value = 2, AnyValue.string_value = 1), each of wire type 2, whose length comes before the content.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from processors.genai.values import to_json_bytes

_ATTRIBUTES, _KEY, _VALUE, _STRING = (bytes([number << 3 | 2]) for number in (9, 1, 2, 1))


def attribute(key: str, found: Any) -> tuple[bytes, ...]:
    """What `Span.MergeFromString` takes, joined, to add an attribute: a text as it is, anything else as JSON."""
    text = found.encode() if isinstance(found, str) else to_json_bytes(found)
    head, length = _head(key), _varint(len(text))
    value_size = 1 + len(length) + len(text)
    value_length = _varint(value_size)
    size = _varint(len(head) + len(value_length) + value_size)
    return _ATTRIBUTES, size, head, value_length, _STRING, length, text


@lru_cache(64)
def _head(key: str) -> bytes:
    encoded = key.encode()
    return _KEY + _varint(len(encoded)) + encoded + _VALUE


@lru_cache(4096)
def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:  # noqa: PLR2004  seven bits a byte, the eighth says that more follow
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])
