"""One span as the conventions see it: attributes by key, decoded when asked for, and its events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.processors.attributes import as_dict, to_python
from spanbridge.processors.genai.values import (
    EMPTY_TEXTS,
    LONGEST_EMPTY,
    MAX_COUNT,
    as_count,
    as_name,
    decoded,
    is_empty,
)

Row: TypeAlias = tuple[tuple[str, str], ...]
"""One entry of a flattened list: the rest of each key after the number, and the whole key."""

_MAX_INDEX_DIGITS = 6


class Layout:
    """What can be told from a span's keys alone. Spans with the same keys share one, so it is worked out once."""

    __slots__ = ("_common", "_indexed", "_under", "keys")

    def __init__(self, keys: frozenset[str]) -> None:
        self.keys = keys
        self._under: dict[str, Row] = {}
        self._indexed: dict[str, tuple[Row, ...]] = {}
        self._common: dict[frozenset[str], tuple[str, ...]] = {}

    def common(self, wanted: frozenset[str]) -> tuple[str, ...]:
        """The keys that are among the wanted ones."""
        if wanted not in self._common:
            self._common[wanted] = tuple(self.keys & wanted)
        return self._common[wanted]

    def under(self, prefix: str) -> Row:
        """The keys that begin with the prefix, each with its rest."""
        if prefix not in self._under:
            start = len(prefix)
            self._under[prefix] = tuple((key[start:], key) for key in sorted(self.keys) if key.startswith(prefix))
        return self._under[prefix]

    def indexed(self, prefix: str) -> tuple[Row, ...]:
        """Flattened lists: the keys `<prefix>.<N>.<rest>`, grouped and ordered by N."""
        if prefix not in self._indexed:
            self._indexed[prefix] = _rows(self.under(prefix + "."))
        return self._indexed[prefix]


def _rows(keys: Iterable[tuple[str, str]]) -> tuple[Row, ...]:
    rows: dict[int, list[tuple[str, str]]] = {}
    for rest, key in keys:
        number, _, name = rest.partition(".")
        if number.isdecimal() and len(number) <= _MAX_INDEX_DIGITS:
            rows.setdefault(int(number), []).append((name, key))
    return tuple(tuple(rows[number]) for number in sorted(rows))


class SpanView:
    """A span's attributes as a mapping without empty values: what says nothing is as good as absent.

    `places` says where among the `attributes` each key is, and is shared by all spans with the same keys in the same
    order. Values are decoded on demand, as most of a span's attributes are of no interest to a convention.
    """

    __slots__ = ("attributes", "layout", "places", "span")

    def __init__(self, span: Span, attributes: list[KeyValue], places: Mapping[str, int], layout: Layout) -> None:
        self.span, self.attributes, self.places, self.layout = span, attributes, places, layout

    def get(self, key: str) -> Any:
        """The value under a key, or None when there is none or it says nothing."""
        place = self.places.get(key)
        if place is None:
            return None
        any_value = self.attributes[place].value
        text = any_value.string_value
        if text:
            return None if len(text) <= LONGEST_EMPTY and text in EMPTY_TEXTS else text
        value = to_python(any_value)
        return None if is_empty(value) else value

    def decoded(self, key: str) -> Any:
        """The value under a key, read as JSON if it is a JSON text; None when there is none."""
        return decoded(self.get(key))

    def first(self, *keys: str) -> Any:
        """The first of the keys' values that says something, or None."""
        for key in keys:
            if key in self.places and (value := self.get(key)) is not None:
                return value
        return None

    def text(self, key: str) -> str:
        """The text under a key, as it stands there; empty when there is none."""
        place = self.places.get(key)
        return "" if place is None else self.attributes[place].value.string_value

    def name(self, *keys: str) -> str | None:
        """The first of the keys' values that is a name, or None."""
        for key in keys:
            if key in self.places and (value := as_name(self.text(key) or self.get(key))) is not None:
                return value
        return None

    def count(self, key: str) -> int | None:
        """The number of tokens under a key, or None."""
        place = self.places.get(key)
        if place is None:
            return None
        # Most counts are plain integers, and this says so without asking for the kind.
        number = self.attributes[place].value.int_value
        return number if 0 < number < MAX_COUNT else as_count(self.get(key))

    def under(self, prefix: str) -> dict[str, Any]:
        """The values of all keys that begin with the prefix, by the rest of the key."""
        return self._row(self.layout.under(prefix))

    def indexed(self, prefix: str) -> list[dict[str, Any]]:
        """Flattened lists: `<prefix>.<N>.<rest>` as one dict of `rest` to value for each N, in order of N."""
        return [self._row(row) for row in self.layout.indexed(prefix)]

    def _row(self, row: Row) -> dict[str, Any]:
        return {rest: value for rest, key in row if (value := self.get(key)) is not None}

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """The span's events in order, as name and attributes."""
        return [(event.name, as_dict(event.attributes)) for event in self.span.events]

    def set(self, key: str, text: str) -> None:
        """Set an attribute of the span to a text."""
        place = self.places.get(key)
        if place is None:
            place = len(self.attributes)
            self.places = {**self.places, key: place}  # of its own from now on
            self.attributes.append(self.span.attributes.add(key=key))
        self.attributes[place].value.string_value = text


def nested(row: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Within one row of `SpanView.indexed`, the rows of a list flattened under `<prefix>.<N>.`."""
    start = len(prefix) + 1
    below = [(key[start:], key) for key in row if key.startswith(prefix + ".")]
    return [{rest: row[key] for rest, key in names} for names in _rows(below)] if below else []
