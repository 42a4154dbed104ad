"""Values as they come in attributes: JSON inside strings, counts as strings or floats, and what counts as empty."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

EMPTY_TEXTS = frozenset({"", "null", "{}", "[]", '""', "<REDACTED>"})
"""Texts that say nothing: JSON for nothing, and the placeholder of Claude Code."""

LONGEST_EMPTY = max(map(len, EMPTY_TEXTS))
"""No longer text need be looked up, which takes its hash."""

MAX_COUNT = 1 << 62
"""No count or amount is as much."""

_NO_NAMES = EMPTY_TEXTS | {"None", "undefined"}

_JSON_STARTS = frozenset('{["')


def is_empty(value: Any) -> bool:
    """Return whether a value says nothing. 0 and False say something."""
    if isinstance(value, str):
        return len(value) <= LONGEST_EMPTY and value in EMPTY_TEXTS
    return not value and (value is None or isinstance(value, (list, dict, bytes)))


def decoded(value: Any) -> Any:
    """Return what a JSON text holds if that is an object, a list or a quoted string; any other value as it is."""
    if not isinstance(value, str) or value[:1] not in _JSON_STARTS:
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list (JSON text or structured), each decoded; an object alone is a list of one."""
    value = decoded(value)
    items = value if isinstance(value, list) else [value]
    return [item for item in map(decoded, items) if isinstance(item, dict)]


def as_object(value: Any) -> dict[str, Any]:
    """Return the value if it is an object (JSON text or structured), else an empty one."""
    value = decoded(value)
    return value if isinstance(value, dict) else {}


def as_text(value: Any) -> str:
    """Return a text as it is, None as "", anything else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else to_json(value)


def as_name(value: Any) -> str | None:
    """Return a short text such as a model's name, or None if the value is empty or JSON for nothing."""
    value = decoded(value) if isinstance(value, str) and value[:1] == '"' else value
    if isinstance(value, str):
        return None if value in _NO_NAMES else value.strip() or None
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def as_count(value: Any) -> int | None:
    """Return a number of tokens, from an int, a whole float or either as text (Micrometer sends texts); else None."""
    number = as_number(value)
    return int(number) if number is not None else None


def as_number(value: Any) -> float | int | None:
    """Return a finite number that is not negative, also from a text; else None."""
    if isinstance(value, str):
        try:
            value = int(value) if value.isdecimal() else float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if 0 <= value < MAX_COUNT else None


def first(values: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """Return the first value under one of the keys that is not empty, or None."""
    for key in keys:
        value = values.get(key)
        if value is not None and not is_empty(value):
            return value
    return None


def to_json(value: Any) -> str:
    """Return a value as compact JSON; what JSON does not know (bytes) as base64 text, non-finite numbers as null."""
    return to_json_bytes(value).decode()


def to_json_bytes(value: Any) -> bytes:
    """Return what `to_json` returns, in UTF-8."""
    try:
        return orjson.dumps(value)
    except (orjson.JSONEncodeError, RecursionError):
        return _odd_json(value)


def _odd_json(value: Any) -> bytes:
    """Return JSON of values with bytes or with keys that are no texts, which takes orjson longer."""
    try:
        return orjson.dumps(value, default=_jsonable, option=orjson.OPT_NON_STR_KEYS)
    except (orjson.JSONEncodeError, RecursionError):
        return _deep_json(value).encode()


def _jsonable(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else repr(value)


def _deep_json(value: Any) -> str:
    """Return JSON of what orjson refuses: nesting below 254 levels, or integers beyond 64 bits."""
    try:
        return json.dumps(value, ensure_ascii=False, default=_jsonable)
    except (ValueError, RecursionError):
        return '"(nested too deeply to show)"'
