"""Protobuf's wire format, as far as it takes to cut messages apart without decoding them. Pure.

https://protobuf.dev/programming-guides/encoding: a message is a sequence of fields, each a tag and a value, and nothing
around them. So fields may be left out, and put into another message, byte for byte: what is cut is not read, and what
this version does not know is kept. A length is that of the value alone, so a message from which something was cut needs
a new one, and so does each message around it (`wrapped`). A tag is a number: the field's number, and in the lowest
three bits how the value ends.

The functions work by places in one `bytes` instead of slices: to copy each nested message would make the work grow with
the depth. `end` bounds each of them: with a length that reaches beyond its message, the cut would take bytes of the
next field along, and what is sent on would be another message than what came.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

LENGTH_DELIMITED = 2
_VARINT = 0
_LAST = 0x7F
"""A number is written in groups of 7 bits, lowest first; the byte of the last one is not above this."""
_FIXED_SIZES = {1: 8, 5: 4}
"""Bytes of a value by wire type: I64 and I32. Groups (3 and 4) are not used in OTLP and are refused."""


def field(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """Return the field that begins at `at`: its number, where its value begins, and where it ends.

    The value of a length-delimited field begins after its length; of any other it includes all that follows the tag.

    Args:
        data: What holds the message.
        at: Where the field's tag begins; before `end`.
        end: Where the message ends.

    Raises:
        DecodeError: It is no field, or reaches beyond the message.
    """
    tag = data[at]
    at += 1
    if tag > _LAST:  # a field number above 15; nearly all tags are one byte
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
    """Return the number that begins at `at`, and where it ends.

    Raises:
        DecodeError: It goes on beyond `end`, where its message ends.
    """
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
    """Return a length-delimited field of a value; `number` is below 16, so that the tag is one byte."""
    head = bytearray((number << 3 | LENGTH_DELIMITED,))
    length = len(value)
    while length > _LAST:
        head.append(length & _LAST | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + value
