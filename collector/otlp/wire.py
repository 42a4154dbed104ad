"""Protobuf's wire format (https://protobuf.dev/programming-guides/encoding), as far as it takes to cut messages apart.

A message is a sequence of fields, each a tag and a value: they may be left out, and put into another message, as they
are. Everything here raises DecodeError on what is no message.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

LENGTH_DELIMITED = 2
_VARINT = 0
_LAST = 0x7F
"""The last byte of a number is not above it."""
_FIXED_SIZES = {1: 8, 5: 4}


def field(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """The field that begins at `at`, before `end`: its number, where its value begins, and where it ends."""
    tag = data[at]
    at += 1
    if tag > _LAST:
        tag, at = varint(data, at - 1, end)
    kind = tag & 7
    if kind == LENGTH_DELIMITED:
        length, at = varint(data, at, end)
        stop = at + length
    elif kind == _VARINT:
        _, stop = varint(data, at, end)
    elif kind in _FIXED_SIZES:
        stop = at + _FIXED_SIZES[kind]
    else:
        raise DecodeError("a field of no known kind")
    if stop > end:
        raise DecodeError("a field reaches beyond its message")
    return tag >> 3, at, stop


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        if byte <= _LAST:
            return value | byte << shift, at
        value |= (byte & _LAST) << shift
        shift += 7
    raise DecodeError("a number reaches beyond its message")


def wrapped(number: int, value: bytes) -> bytes:
    """A length-delimited field; `number` is below 16."""
    head = bytearray((number << 3 | LENGTH_DELIMITED,))
    length = len(value)
    while length > _LAST:
        head.append(length & _LAST | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + value
