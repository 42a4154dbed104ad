"""Values of OTTL expressions: how two compare, and how one reads as text.

The rules are the table of contrib's pkg/ottl/LANGUAGE.md "Comparison Rules": values of different kinds are not equal
and not ordered; integers and floats compare as numbers; nil equals nil.
"""

from __future__ import annotations

import base64
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeGuard

import orjson

from spanbridge.processors.ottl.errors import OttlError


@dataclass(frozen=True, slots=True, order=True)
class Time:
    """A point in time: nanoseconds since the epoch."""

    nanoseconds: int


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span of time in nanoseconds."""

    nanoseconds: int


Value: TypeAlias = str | bool | int | float | bytes | list[Any] | dict[str, Any] | Time | Duration | None

_ORDERED: Final = (str, bool, int, float, bytes, Time, Duration)
_MAX_EXACT: Final = 1e21


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether a value is an integer; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Return whether a value is an integer or a float; a bool is neither."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def equal(left: Value, right: Value) -> bool:
    """Return what OTTL's `==` says."""
    if type(left) is type(right) or (is_number(left) and is_number(right)):
        return left == right
    return False


def _ordering(compare: Callable[[Any, Any], bool], *, nil: bool) -> Callable[[Value, Value], bool]:
    def ordered(left: Value, right: Value) -> bool:
        if type(left) is type(right):
            return compare(left, right) if isinstance(left, _ORDERED) else nil and left is None
        return is_number(left) and is_number(right) and compare(left, right)

    return ordered


COMPARISONS: Final[dict[str, Callable[[Value, Value], bool]]] = {
    "==": equal,
    "!=": lambda left, right: not equal(left, right),
    "<": _ordering(operator.lt, nil=False),
    "<=": _ordering(operator.le, nil=True),
    ">": _ordering(operator.gt, nil=False),
    ">=": _ordering(operator.ge, nil=True),
}


def index(value: Value, key: Value) -> Value:
    """Return `value[key]`; nil of nil, and for a key that a map lacks.

    Raises:
        OttlError: The value has no such entries, or the key is of the wrong kind.
    """
    if value is None:
        return None
    if isinstance(value, dict) and isinstance(key, str):
        return value.get(key)
    if isinstance(value, list) and is_integer(key):
        if 0 <= key < len(value):
            return value[key]  # type: ignore[no-any-return]
        raise OttlError(f"index {key} is out of range of a list of {len(value)}")
    raise OttlError(f"a {kind(value)} can't be indexed by a {kind(key)}")


def kind(value: Value) -> str:
    """Return the name of a value's type, for error sentences."""
    names = {str: "string", bool: "bool", int: "int", float: "double", bytes: "byte slice", list: "list", dict: "map"}
    return "nil" if value is None else names.get(type(value), type(value).__name__.lower())


def text(value: Value) -> str:
    """Return the textual form that a value takes where a string is wanted (pdata's AsString)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (list, dict)):
        return _json(value)
    if isinstance(value, (Time, Duration)):
        return str(value.nanoseconds)
    return "" if value is None else str(value)


def _json(value: list[Any] | dict[str, Any]) -> str:
    try:
        return orjson.dumps(value, default=text).decode()
    except TypeError:
        raise OttlError(f"a {kind(value)} is too deep or too large for JSON") from None


def _float_text(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < _MAX_EXACT else repr(value)
