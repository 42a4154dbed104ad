"""The functions of OTTL on times and durations; importing this module registers them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from spanbridge.processors.ottl.errors import OttlError
from spanbridge.processors.ottl.functions import function, want_integer, want_string
from spanbridge.processors.ottl.values import Duration, Time, Value, kind

_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_SECOND: Final = 10**9
_UNITS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
}
_MAX_DIGITS: Final = 18
_MAX_LENGTH: Final = 64
_LONGEST: Final = (1 << 63) - 1


def _want_time(value: Value) -> Time:
    if isinstance(value, Time):
        return value
    raise OttlError(f"a time is wanted, not a {kind(value)}")


def _want_duration(value: Value) -> Duration:
    if isinstance(value, Duration):
        return value
    raise OttlError(f"a duration is wanted, not a {kind(value)}")


@function("Duration")
def _duration(duration: Value) -> Duration:
    """Read a duration as Go's time.ParseDuration does."""
    whole = want_string(duration)
    unsigned = whole[1:] if whole[:1] in ("+", "-") else whole
    parts = _PART.findall(unsigned) if len(unsigned) <= _MAX_LENGTH else []
    total = sum(_nanoseconds(number, unit) for number, unit in parts)
    if (unsigned != "0" and (not parts or "".join(map("".join, parts)) != unsigned)) or total > _LONGEST:
        raise OttlError(f"{whole[:40]!r} is not a duration; write for example 300ms or 1h30m")
    return Duration(-total if whole.startswith("-") else total)


def _nanoseconds(number: str, unit: str) -> int:
    whole, _, fraction = number.partition(".")
    digits = fraction[:_MAX_DIGITS]
    scale: int = 10 ** len(digits)
    return int(whole or 0) * _UNITS[unit] + int(digits or 0) * _UNITS[unit] // scale


@function("Unix")
def _unix(seconds: Value, nanoseconds: Value = 0) -> Time:
    return Time(want_integer(seconds) * _SECOND + want_integer(nanoseconds))


def _fraction(size: int) -> Callable[[Value], float]:
    return lambda value: _want_duration(value).nanoseconds / size


def _whole(size: int) -> Callable[[Value], int]:
    return lambda value: int(_want_duration(value).nanoseconds / size)


def _since_epoch(size: int) -> Callable[[Value], int]:
    return lambda time: _want_time(time).nanoseconds // size


def _calendar(part: str) -> Callable[[Value], int]:
    return lambda value: int(getattr(_moment(value), part))


def _moment(value: Value) -> datetime:
    try:
        return datetime.fromtimestamp(_want_time(value).nanoseconds // _SECOND, UTC)
    except (OverflowError, ValueError, OSError):
        raise OttlError("the time is outside of the calendar") from None


for _name, _size in {"Hours": 3600 * _SECOND, "Minutes": 60 * _SECOND, "Seconds": _SECOND}.items():
    function(_name)(_fraction(_size))
for _name, _size in {"Milliseconds": 10**6, "Microseconds": 10**3, "Nanoseconds": 1}.items():
    function(_name)(_whole(_size))
for _name, _size in {"UnixSeconds": _SECOND, "UnixMilli": 10**6, "UnixMicro": 10**3, "UnixNano": 1}.items():
    function(_name)(_since_epoch(_size))
for _name in ("Year", "Month", "Day", "Hour", "Minute", "Second"):
    function(_name)(_calendar(_name.lower()))
function("Weekday")(lambda value: _moment(value).isoweekday() % 7)
