"""Single values MLflow can store: texts, numbers, bytes. Pure; the modules of MLflow 3.17 that ask for it are named."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable
from typing import Any

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from spanbridge.processors.attributes import to_python

_REPLACEMENT = "\ufffd"
OPAQUE = "\ufeff"
"""A byte order mark in front keeps Python's json from reading a text as JSON, and is not seen by people."""

_MAX_DEPTH = 400
_MAX_DIGITS = 4300
_LONG_NUMBER = re.compile(rf"[0-9]{{{_MAX_DIGITS + 1}}}")
_ESCAPE = re.compile(r"\\u(?:0000|[dD])")
_JSON_START = re.compile(r'[ \t\r\n]*[\[{"0-9-]')
_BAD_ESCAPE = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u(?:([dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|0000|[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def clean_value(value: AnyValue) -> None:
    """Make a value harmless, in place: texts by `text`, bytes as base64, NaN and infinities as words.

    NaN would be written bare into the trace JSON that the UI fetches, bytes as Python's repr.
    """
    kind = value.WhichOneof("value")
    if kind == "string_value":
        found = value.string_value
        harmless = text(found)
        if harmless is not found:
            value.string_value = harmless
    elif kind == "double_value" and not math.isfinite(value.double_value):
        value.string_value = _number_word(value.double_value)
    elif kind == "bytes_value":
        value.string_value = base64.b64encode(value.bytes_value).decode()
    elif kind == "array_value":
        for item in value.array_value.values:
            clean_value(item)
    elif kind == "kvlist_value":
        for entry in value.kvlist_value.values:
            clean_value(entry.value)


def _number_word(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def text(found: str) -> str:
    """Make a text harmless for columns and JSON readers of MLflow; the very same object if there is nothing to do.

    NUL is refused by PostgreSQL, as itself and as what a JSON escape in a preview turns into; a lone surrogate
    escape (JavaScript cuts strings between two halves) can't be encoded. JSON nested deeper than the interpreter's
    stack, or with a number of more than 4,300 digits, raises what MLflow's `except json.JSONDecodeError` doesn't
    catch (tracing/otel/translation/__init__.py sanitize_attributes).
    """
    if "\0" in found:
        found = found.replace("\0", _REPLACEMENT)
    if ("\\u0000" in found or "\\ud" in found or "\\uD" in found) and _JSON_START.match(found):
        found = _BAD_ESCAPE.sub(lambda match: match[0] if match[2] else match[1] + _REPLACEMENT, found)
    if len(found) > _MAX_DEPTH and _too_much_json(found):
        found = OPAQUE + found
    return found


def is_plain(joined: str) -> bool:
    """Return whether `text` leaves each text as it is that was joined to this one; False if that is not certain."""
    if "\0" in joined or ("\\" in joined and _ESCAPE.search(joined)):
        return False
    return len(joined) <= _MAX_DEPTH or (
        joined.count("[") + joined.count("{") <= _MAX_DEPTH and not _has_long_number(joined)
    )


def _too_much_json(found: str) -> bool:
    if not _JSON_START.match(found):
        return False
    if _has_long_number(found):
        return True
    if found.count("[") + found.count("{") <= _MAX_DEPTH:
        return False
    decoded = loads(found)
    if isinstance(decoded, str):  # JSON in JSON, which MLflow unwraps too
        return _too_much_json(decoded)
    # What is no JSON, or too deep for orjson, is none the worse for being opaque to other readers too.
    return decoded is None or _depth(decoded) > _MAX_DEPTH


def _has_long_number(found: str) -> bool:
    # A run of more than 4,300 digits covers at least one of every 4,300 characters.
    if len(found) <= _MAX_DIGITS or not any(char.isdigit() for char in found[_MAX_DIGITS::_MAX_DIGITS]):
        return False
    return _LONG_NUMBER.search(found) is not None


def _depth(decoded: Any) -> int:
    depth, level = 0, [decoded]
    while level:
        depth += 1
        inner = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (list, dict)))
        level = [child for items in inner for child in items]
    return depth


def from_python(found: str) -> str:
    """Make a text of ours, such as a tag, one that can be encoded: Python's can hold half a surrogate pair."""
    return text(found.encode("utf-8", "replace").decode())


class KeyRule(dict[str, bool]):
    """A map of attribute keys to what a rule says of them, remembered within bounds, as keys are anybody's input."""

    def __init__(self, rule: Callable[[str], bool]) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, key: str) -> bool:
        said = self._rule(key)
        if len(key) <= _LONGEST_KEY:
            if len(self) >= _MOST_KEYS:
                self.clear()
            self[key] = said
        return said


_LONGEST_KEY = 250
_MOST_KEYS = 10_000


def plain_text(value: AnyValue) -> str:
    """Write a value as the text of a tag: a string as it is, all else as JSON; nothing if nothing is set."""
    if found_text := value.string_value:
        return text(found_text)
    found = AnyValue()
    found.CopyFrom(value)
    clean_value(found)
    kind = found.WhichOneof("value")
    if kind is None:
        return ""
    return found.string_value if kind == "string_value" else dumps(to_python(found))


def unquoted(found: str) -> str:
    """Return a text without the JSON quotes that MLflow's own SDK puts around it."""
    inner = loads(found) if _JSON_START.match(found) else None
    return inner if isinstance(inner, str) else found


def loads(found: str) -> Any:
    """Read JSON; None where there is none. orjson has a bound on depth and on digits."""
    try:
        return orjson.loads(found)
    except orjson.JSONDecodeError:
        return None


def dumps(found: Any) -> str:
    """Write JSON without spaces."""
    return orjson.dumps(found).decode()
