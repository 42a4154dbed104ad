"""Attribute values as tag texts; each type is written in one way, so that equal values are found by one search."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from spanbridge.processors.attributes import Value

Type: TypeAlias = Literal["str", "int", "float", "bool", "csv"]

_TRUTH = {"true": "true", "1": "true", "yes": "true", "on": "true"} | {
    "false": "false",
    "0": "false",
    "no": "false",
    "off": "false",
}


def as_text(value: Value) -> str:
    """Return any value as a tag's text, without regard to a type: strings as they are, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return json.dumps(value, ensure_ascii=False, default=as_text)


def _int(value: Value) -> str:
    if type(value) is int:
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(int(as_text(value)))


def _float(value: Value) -> str:
    number = float(as_text(value))
    if not math.isfinite(number):
        raise ValueError
    return repr(number)


def _bool(value: Value) -> str:
    return _TRUTH[as_text(value).strip().lower()]


_AROUND_AN_ITEM = re.compile(r"^[\s\[]+|[\s\]]+$")


def _csv(value: Value) -> str:
    listed: Any = value
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            listed = json.loads(value)
        except ValueError:
            listed = value
    text = ",".join(map(as_text, listed)) if isinstance(listed, list) else as_text(value)
    items = [item.strip() for item in text.split(",")]
    if "[" in text or "]" in text:  # of a list that was cut off, or of one inside the list
        items = [_AROUND_AN_ITEM.sub("", item) for item in items]
    return ",".join(filter(None, items))


_WRITERS: dict[Type, Callable[[Value], str]] = {
    "str": as_text,
    "int": _int,
    "float": _float,
    "bool": _bool,
    "csv": _csv,
}


def written(type_: Type, value: Value) -> str | None:
    """Return the text of a value of a type: `3`, `0.5`, `true`, `a,b`; None if it is not of that type."""
    try:
        return _WRITERS[type_](value)
    except (ValueError, KeyError, OverflowError, RecursionError):
        return None
