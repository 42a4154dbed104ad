"""A `Context` as bytes and back: JSON of the fields that are given, nothing at all when none is."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter

import orjson

from spanbridge.processors.types import Context

_NAMES = tuple(field.name for field in fields(Context))
_VALUES = attrgetter(*_NAMES)


def dump(context: Context) -> bytes:
    """Return the fields of `context` that are not empty, as JSON; b"" when all are, as of most senders."""
    given = {name: value for name, value in zip(_NAMES, _VALUES(context), strict=True) if value}
    return orjson.dumps(given) if given else b""


def load(data: bytes) -> Context:
    """Return the context that `dump` wrote. A field that this version does not know is ignored, as after a downgrade.

    Raises:
        orjson.JSONDecodeError: `data` is no JSON. (What comes from a journal's file has been checked by then.)
    """
    given = orjson.loads(data) if data else {}
    if "allow_experiments" in given:
        given["allow_experiments"] = tuple(given["allow_experiments"])
    return Context(**{name: value for name, value in given.items() if name in _NAMES})
