"""One span as the conventions see it: attributes by key, decoded when asked for, and its events."""

from __future__ import annotations

from collections.abc import Iterable
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
    """What can be told from a span's keys alone, worked out once: spans with the same keys share one."""

    __slots__ = ("_common", "_indexed", "_under", "keys")

    def __init__(self, keys: frozenset[str]) -> None:
        self.keys = keys
        self._under: dict[str, Row] = {}
        self._indexed: dict[str, tuple[Row, ...]] = {}
        self._common: dict[tuple[str, ...], tuple[str, ...]] = {}

    def common(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the wanted keys that are there, in their order."""
        found = self._common.get(wanted)
        if found is None:
            found = self._common[wanted] = tuple(key for key in wanted if key in self.keys)
        return found

    def under(self, prefix: str) -> Row:
        """Return the keys that begin with the prefix, each with what follows it."""
        if prefix not in self._under:
            start = len(prefix)
            self._under[prefix] = tuple((key[start:], key) for key in sorted(self.keys) if key.startswith(prefix))
        return self._under[prefix]

    def indexed(self, prefix: str) -> tuple[Row, ...]:
        """Return the keys of a flattened list, `<prefix>.<N>.<rest>`, grouped and ordered by N."""
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

    Values are decoded on demand, as most of a span's attributes are of no interest to a convention. `in` tells whether
    a key is there, even with an empty value.

    Attributes:
        span: The span.
        attributes: Its attributes by their keys; of a repeated key the last.
        layout: What can be told from its keys; attributes that are set later are not in it.
    """

    __slots__ = ("attributes", "layout", "span")

    def __init__(self, span: Span, attributes: dict[str, KeyValue], layout: Layout) -> None:
        self.span, self.attributes, self.layout = span, attributes, layout

    def __contains__(self, key: str) -> bool:
        return key in self.attributes

    def get(self, key: str) -> Any:
        """Return the value under a key, or None when there is none or it is empty."""
        attribute = self.attributes.get(key)
        if attribute is None:
            return None
        any_value = attribute.value
        text = any_value.string_value
        if text:
            return None if len(text) <= LONGEST_EMPTY and text in EMPTY_TEXTS else text
        value = to_python(any_value)
        return None if is_empty(value) else value

    def decoded(self, key: str) -> Any:
        """Return the value under a key, read as JSON if it is a JSON text; None when there is none."""
        return decoded(self.get(key))

    def first(self, *keys: str) -> Any:
        """Return the first of the keys' values that is not empty, or None."""
        for key in keys:
            if key in self.attributes and (value := self.get(key)) is not None:
                return value
        return None

    def text(self, key: str) -> str:
        """Return the text under a key as it stands there; empty when there is none."""
        attribute = self.attributes.get(key)
        return "" if attribute is None else attribute.value.string_value

    def name(self, *keys: str) -> str | None:
        """Return the first of the keys' values that is a name (see `as_name`), or None."""
        for key in keys:
            attribute = self.attributes.get(key)
            if attribute is not None:
                value = as_name(attribute.value.string_value or self.get(key))
                if value is not None:
                    return value
        return None

    def count(self, key: str) -> int | None:
        """Return the number of tokens under a key, or None."""
        attribute = self.attributes.get(key)
        if attribute is None:
            return None
        # Most counts are plain integers, and this says so without asking for the kind.
        number = attribute.value.int_value
        return number if 0 < number < MAX_COUNT else as_count(self.get(key))

    def under(self, prefix: str) -> dict[str, Any]:
        """Return the values of all keys that begin with the prefix, by the rest of the key."""
        return self._row(self.layout.under(prefix))

    def indexed(self, prefix: str) -> list[dict[str, Any]]:
        """Return a flattened list, `<prefix>.<N>.<rest>`, as one dict of `rest` to value for each N, in order of N."""
        return [self._row(row) for row in self.layout.indexed(prefix)]

    def _row(self, row: Row) -> dict[str, Any]:
        return {rest: value for rest, key in row if (value := self.get(key)) is not None}

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the span's events in order, each as its name and attributes."""
        return [(event.name, as_dict(event.attributes)) for event in self.span.events]

    def set(self, key: str, text: str) -> None:
        """Set an attribute of the span to a text."""
        attribute = self.attributes.get(key)
        if attribute is None:
            attribute = self.attributes[key] = self.span.attributes.add(key=key)
        attribute.value.string_value = text


def nested(row: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Return the rows of a list that is flattened under `<prefix>.<N>.` within one row of `SpanView.indexed`."""
    start = len(prefix) + 1
    below = [(key[start:], key) for key in row if key.startswith(prefix + ".")]
    return [{rest: row[key] for rest, key in names} for names in _rows(below)] if below else []
