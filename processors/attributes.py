"""OTLP attributes: `KeyValue` lists read and written as a mapping, `AnyValue` as a Python value."""

from __future__ import annotations

from collections.abc import Iterable, MutableSequence, Sequence
from typing import Any, TypeAlias

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

Value: TypeAlias = str | bool | int | float | bytes | list[Any] | dict[str, Any] | None
"""The Python form of an `AnyValue`; None is an `AnyValue` with nothing set."""

MAX_DEPTH = 64
"""Nesting below this depth reads as None: a guard against values made to exhaust the stack."""


def find(attributes: Iterable[KeyValue], key: str) -> AnyValue | None:
    """Return the value of the first attribute called `key`, or None."""
    for attribute in attributes:
        if attribute.key == key:
            return attribute.value
    return None


def find_last(attributes: Sequence[KeyValue], key: str) -> AnyValue | None:
    """Return the value of the last attribute called `key`, or None."""
    for attribute in reversed(attributes):
        if attribute.key == key:
            return attribute.value
    return None


def by_key(attributes: Sequence[KeyValue]) -> dict[str, KeyValue]:
    """Return the attributes by their keys; of a repeated key the last."""
    # A slice of a protobuf field is read faster than the field itself.
    return {attribute.key: attribute for attribute in attributes[:]}


def to_python(value: AnyValue, depth: int = 0) -> Value:
    """Return the Python form of an `AnyValue`; `depth` is how deep it lies in another one."""
    if depth > MAX_DEPTH:
        return None
    if text := value.string_value:  # most values are texts, and this says so without asking for the kind
        return text
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [to_python(item, depth + 1) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {item.key: to_python(item.value, depth + 1) for item in value.kvlist_value.values}
    return getattr(value, kind)  # type: ignore[no-any-return]


def to_object(value: AnyValue) -> dict[str, Any]:
    """Return a map, also one that is written as JSON in a string; an empty one for any other value."""
    plain = to_python(value)
    if isinstance(plain, str):
        try:
            plain = orjson.loads(plain)
        except orjson.JSONDecodeError:
            return {}
    return plain if isinstance(plain, dict) else {}


def to_amount(value: Any) -> float | None:
    """Return a finite number that is not negative, also one that is written as a string; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < float("inf") else None


def as_dict(attributes: Iterable[KeyValue]) -> dict[str, Value]:
    """Return all attributes as a dict; of a repeated key the first, as in `find`."""
    result: dict[str, Value] = {}
    for attribute in attributes:
        result.setdefault(attribute.key, to_python(attribute.value))
    return result


def assign(target: AnyValue, value: Value) -> None:
    """Make `target` hold a Python value. Integers beyond 64 bits become strings, as no OTLP integer holds them."""
    target.Clear()
    if isinstance(value, str):
        target.string_value = value
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        if -(1 << 63) <= value < 1 << 63:
            target.int_value = value
        else:
            target.string_value = str(value)
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, bytes):
        target.bytes_value = value
    elif isinstance(value, list):
        _assign_list(target, value)
    elif isinstance(value, dict):
        _assign_dict(target, value)


def _assign_list(target: AnyValue, items: Sequence[Value]) -> None:
    target.array_value.SetInParent()
    for item in items:
        assign(target.array_value.values.add(), item)


def _assign_dict(target: AnyValue, items: dict[str, Any]) -> None:
    target.kvlist_value.SetInParent()
    for key, item in items.items():
        entry = target.kvlist_value.values.add()
        entry.key = key
        assign(entry.value, item)


def put(attributes: MutableSequence[KeyValue], key: str, value: Value) -> None:
    """Set the attribute `key`, replacing the one there is."""
    target = find(attributes, key)
    if target is None:
        attributes.append(KeyValue(key=key))
        target = attributes[-1].value
    assign(target, value)


def remove(attributes: MutableSequence[KeyValue], key: str) -> None:
    """Remove every attribute called `key`."""
    for index in reversed([i for i, attribute in enumerate(attributes) if attribute.key == key]):
        del attributes[index]
