"""Arithmetic on OTTL values: Go's, which wraps at 64 bits and divides towards zero, and that of times and durations."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Final

from spanbridge.processors.ottl.errors import OttlError
from spanbridge.processors.ottl.values import Duration, Time, Value, is_integer, kind


def _quotient(left: int, right: int) -> int:
    """Divide integers as Go does: towards zero."""
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


_INTEGERS: Final[Mapping[str, Callable[[int, int], int]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _quotient,
}
_FLOATS: Final[Mapping[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_TIMES: Final[Mapping[tuple[type, str, type], type[Time | Duration]]] = {
    (Time, "-", Time): Duration,
    (Time, "+", Duration): Time,
    (Time, "-", Duration): Time,
    (Duration, "+", Time): Time,
    (Duration, "+", Duration): Duration,
    (Duration, "-", Duration): Duration,
}


def _int64(number: int) -> int:
    """Wrap an integer to 64 bits, as Go's integers are."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def calculate(symbol: str, left: Value, right: Value) -> Value:
    """Return `left symbol right`.

    Raises:
        OttlError: The kinds do not go together: OTTL mixes no integers and floats.
    """
    try:
        if is_integer(left) and is_integer(right):
            return _int64(_INTEGERS[symbol](left, right))
        if isinstance(left, float) and isinstance(right, float):
            return _FLOATS[symbol](left, right)
    except ZeroDivisionError:
        raise OttlError("division by zero") from None
    result = _TIMES.get((type(left), symbol, type(right)))
    if result is None or not isinstance(left, (Time, Duration)) or not isinstance(right, (Time, Duration)):
        raise OttlError(f"{kind(left)} {symbol} {kind(right)} is not defined")
    return result(_INTEGERS[symbol](left.nanoseconds, right.nanoseconds))


def negate(value: Value) -> Value:
    """Return `-value`.

    Raises:
        OttlError: The value has no negative.
    """
    if is_integer(value):
        return _int64(-value)
    if isinstance(value, float):
        return -value
    if isinstance(value, Duration):
        return Duration(-value.nanoseconds)
    raise OttlError(f"a {kind(value)} has no sign")
