"""Attribute values as MLflow stores them: JSON text, to the byte.

MLflow keeps an attribute as the JSON text of its value (`mlflow.entities.span.Span.from_otel_proto`), takes one layer
off text that holds JSON already (`mlflow.tracing.otel.translation.sanitize_attributes`) and puts the span's JSON into
`spans.content` with `", "` and `": "` between tokens; `span.attributes.KEY RLIKE` searches for exactly that spacing.
"""

from __future__ import annotations

import json
import math
from json.encoder import encode_basestring as quote
from typing import Any

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from spanbridge.collector.exporters.mlflow.record.sanitize import Value
from spanbridge.processors.attributes import to_python

__all__ = ["Unfit", "as_json", "mapping", "members", "plain", "quote", "stored"]

as_json = json.JSONEncoder(ensure_ascii=False, default=str).encode
"""JSON text as `mlflow.tracing.utils.dump_span_attribute_value` writes it; bytes become their Python repr."""

_BLANK = " \t\n\r"
_NEXT_LINE = b",\n  "
_BEFORE_JSON = '"{[' + _BLANK


class Unfit(Exception):
    """A trace of which bulk rows are not known to be what MLflow would make: MLflow's own store decides."""


def stored(value: Value) -> str:
    """Return the text that MLflow keeps of an attribute's value.

    Raises:
        Unfit: It is JSON beyond the limits of Python's reader.
    """
    if isinstance(value, str):
        return value if value and value[0] in _BEFORE_JSON and _holds_json(value) else quote(value)
    return _number(value) if isinstance(value, (int, float)) else _json(value)


def members(texts: dict[str, str]) -> str:
    """Write the JSON of an object of texts, spaced as Python's json does it."""
    try:
        # A line break is never inside a text here, as JSON escapes it: all that there are can become spaces.
        lines = orjson.dumps(texts, option=orjson.OPT_INDENT_2)
    except TypeError:  # half a surrogate pair, which orjson does not write
        return as_json(texts)
    return f"{{{lines[4:-2].replace(_NEXT_LINE, b', ').decode()}}}" if texts else "{}"


def plain(text: str) -> str:
    """Return the string that stored text stands for; stored text of anything else as it is."""
    if text.lstrip(_BLANK)[:1] != '"':
        return text
    if text[0] == text[-1] == '"' and "\\" not in text:
        return text[1:-1]
    return str(json.loads(text))


def mapping(text: str | None) -> dict[str, Any] | None:
    """Read the JSON object that stored text holds; None if it holds none.

    Raises:
        json.JSONDecodeError: It begins like one and is none.
    """
    if not text or text.lstrip(_BLANK)[:1] != "{":
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = json.loads(text)
    return dict(value)


def _number(value: float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int) or math.isfinite(value) else as_json(value)


def _json(value: AnyValue) -> str:
    """`as_json(to_python(value))`, without the Python value in between."""
    match value.WhichOneof("value"):
        case "int_value":
            return str(value.int_value)
        case "string_value":
            return quote(value.string_value)
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "double_value":
            return _number(value.double_value)
        case "array_value":
            return f"[{', '.join([_json(item) for item in value.array_value.values])}]"
        case "kvlist_value":
            members = {member.key: member.value for member in value.kvlist_value.values}
            return f"{{{', '.join([f'{quote(key)}: {_json(item)}' for key, item in members.items()])}}}"
        case _:  # no value, or what json writes in a way of its own
            return as_json(to_python(value))


def _holds_json(text: str) -> bool:
    """Whether `text` is the JSON of a string, an array or an object, by the rules of Python's json module.

    orjson is four times as fast and accepts nothing that json refuses, save numbers and depths at which MLflow gives
    the span up; of what it refuses itself (NaN, lone surrogates) json is the judge.
    """
    if text[0] in _BLANK and text.lstrip(_BLANK)[:1] not in ('"', "{", "["):
        return False
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return _json_accepts(text)
    return True


def _json_accepts(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    except (ValueError, RecursionError) as error:
        raise Unfit("an attribute holds JSON beyond Python's limits") from error
    return True
