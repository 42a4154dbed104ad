"""OTLP/JSON to protobuf messages. Pure.

OTLP deviates from the proto3 JSON mapping (OTLP specification, "JSON Protobuf Encoding"), so protobuf's own parser
can't be used: ids are hexadecimal in either case, enums are integers only, names are lowerCamelCase only, unknown
fields are ignored. The readers are derived from the message descriptors, so that every field of the proto is known.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, TypeVar

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from spanbridge.collector.errors import Invalid
from spanbridge.processors.types import Batch, Logs

R = TypeVar("R", Batch, Logs)
_Read: TypeAlias = Callable[[Any, int], Any]
"""A function from a JSON value, and the depth of the message that it is in, to what the message's constructor takes."""

MAX_DEPTH = 100
"""Messages in messages, as in protobuf's own decoder: what is deeper could not be read again from the journal."""

_HEX_FIELDS = {"trace_id", "span_id", "parent_span_id"}
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_INT32, _INT64 = (-(1 << 31), (1 << 31) - 1), (-(1 << 63), (1 << 63) - 1)
_UINT32, _UINT64 = (0, (1 << 32) - 1), (0, (1 << 64) - 1)
_RANGES = {
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_UINT32: _UINT32,
    FieldDescriptor.TYPE_FIXED32: _UINT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_FIXED64: _UINT64,
}


def parse(kind: type[R], body: bytes | bytearray) -> R:
    """Decode a request of this kind.

    Raises:
        Invalid: The body is no such request; the text names the field, never its value.
    """
    return kind(**_READERS[kind](_loads(body), 0))


def _loads(body: bytes | bytearray) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "surrogate" not in error.msg:
            raise Invalid(f"the body is not valid JSON: {error}") from error
    # JavaScript writes half of a character that was cut in two as a lone surrogate; it is no reason to lose a batch
    try:
        return orjson.loads(_ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], body))
    except orjson.JSONDecodeError as error:
        raise Invalid(f"the body is not valid JSON: {error}") from error


def _message_reader(descriptor: Descriptor, known: dict[str, _Read]) -> _Read:
    """Return the reader of a message.

    Args:
        descriptor: The message's.
        known: The readers made so far, by full name. They end the recursion: an AnyValue may hold an AnyValue.
    """
    if descriptor.full_name in known:
        return known[descriptor.full_name]
    fields: dict[str, tuple[str, _Read]] = {}

    def read(value: Any, depth: int) -> dict[str, Any]:
        if type(value) is not dict:
            raise Invalid(f"{descriptor.name} must be a JSON object")
        if depth > MAX_DEPTH:
            raise Invalid(f"the request is nested deeper than {MAX_DEPTH} messages")
        message = {}
        for key, item in value.items():
            field = fields.get(key)
            if field is not None and item is not None:
                name, read_field = field
                message[name] = read_field(item, depth)
        return message

    # Known before its fields are: these may be of the same message.
    known[descriptor.full_name] = _with_large_integers(read) if descriptor is AnyValue.DESCRIPTOR else read
    fields.update((field.json_name, (field.name, _field_reader(field, known))) for field in descriptor.fields)
    return known[descriptor.full_name]


def _with_large_integers(read: _Read) -> _Read:
    """Return a reader of AnyValue that takes a number beyond 64 bits in `intValue` for the double that it is.

    OpenTelemetry JS writes every number without a fraction there (otlp-transformer, toAnyValue), 1e21 too, and one
    such number is no reason to refuse the spans of a whole batch.
    """

    def read_any_value(value: Any, depth: int) -> Any:
        number = value.get("intValue") if type(value) is dict else None
        if isinstance(number, (int, float)) and not _INT64[0] <= number <= _INT64[1]:
            value = {"doubleValue": number}
        return read(value, depth)

    return read_any_value


def _field_reader(field: FieldDescriptor, known: dict[str, _Read]) -> _Read:
    single = _single_reader(field, known)
    return partial(_list, field.json_name, single) if field.default_value == [] else single


def _single_reader(field: FieldDescriptor, known: dict[str, _Read]) -> _Read:
    name = field.json_name
    if field.message_type is not None:
        message = _message_reader(field.message_type, known)
        return lambda value, depth: message(value, depth + 1)
    if field.type in _RANGES:
        return partial(_integer, name, *_RANGES[field.type])
    if field.type == FieldDescriptor.TYPE_BYTES:
        return partial(_hexadecimal if field.name in _HEX_FIELDS else _base64, name)
    return partial(_SCALARS[field.type], name)


def _list(name: str, single: _Read, value: Any, depth: int) -> list[Any]:
    if type(value) is not list:
        raise Invalid(f"{name} must be a JSON array")
    return [single(item, depth) for item in value]


def _string(name: str, value: Any, _depth: int) -> str:
    if type(value) is not str:
        raise Invalid(f"{name} must be a string")
    return value


def _boolean(name: str, value: Any, _depth: int) -> bool:
    if type(value) is not bool:
        raise Invalid(f"{name} must be true or false")
    return value


def _integer(name: str, low: int, high: int, value: Any, _depth: int) -> int:
    if (type(value) is str and _INTEGER.fullmatch(value)) or (type(value) is float and value.is_integer()):
        value = int(value)
    if type(value) is not int or not low <= value <= high:
        raise Invalid(f"{name} must be an integer from {low} to {high}")
    return value


def _enum(name: str, value: Any, depth: int) -> int:
    if type(value) is str:
        raise Invalid(f"{name} must be an integer: OTLP/JSON has no names for enum values")
    return _integer(name, *_INT32, value, depth)


def _double(name: str, value: Any, _depth: int) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    if type(value) is str:
        if value in _NOT_FINITE:
            return _NOT_FINITE[value]
        if _NUMBER.fullmatch(value) and math.isfinite(number := float(value)):
            return number
    raise Invalid(f"{name} must be a number")


def _hexadecimal(name: str, value: Any, _depth: int) -> bytes:
    try:
        return binascii.unhexlify(_string(name, value, 0))
    except ValueError as error:
        raise Invalid(f"{name} must be hexadecimal") from error


def _base64(name: str, value: Any, _depth: int) -> bytes:
    text = _string(name, value, 0).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise Invalid(f"{name} must be base64") from error


_SCALARS: dict[int, Callable[[str, Any, int], Any]] = {
    FieldDescriptor.TYPE_STRING: _string,
    FieldDescriptor.TYPE_BOOL: _boolean,
    FieldDescriptor.TYPE_DOUBLE: _double,
    FieldDescriptor.TYPE_ENUM: _enum,
}
_READERS: dict[type, _Read] = {kind: _message_reader(kind.DESCRIPTOR, {}) for kind in (Batch, Logs)}
