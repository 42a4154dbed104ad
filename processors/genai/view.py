"""One span as the conventions see it: attributes by key, decoded when asked for, and its events."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from processors.attributes import as_dict, to_python
from processors.genai.values import decoded, is_empty


class SpanView:
    """A span's attributes as a mapping without empty values: what says nothing is as good as absent.

    `raw` maps each key to its `AnyValue`. Values are decoded on demand, as most of a span's attributes are of no
    interest to a convention.
    """

    __slots__ = ("_indexed", "raw", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.raw: dict[str, AnyValue] = {attribute.key: attribute.value for attribute in span.attributes}
        self._indexed: dict[str, list[dict[str, Any]]] = {}

    def get(self, key: str, default: Any = None) -> Any:
        """The value under a key, or the default when there is none or it says nothing."""
        found = self.raw.get(key)
        if found is None:
            return default
        value = found.string_value or to_python(found)
        return default if is_empty(value) else value

    def decoded(self, key: str) -> Any:
        """The value under a key, read as JSON if it is a JSON text; None when there is none."""
        return decoded(self.get(key))

    def first(self, *keys: str) -> Any:
        """The first of the keys' values that says something, or None."""
        for key in keys:
            if key in self.raw and (value := self.get(key)) is not None:
                return value
        return None

    def under(self, prefix: str) -> dict[str, Any]:
        """The values of all keys that begin with the prefix, by the rest of the key."""
        start = len(prefix)
        found = {key[start:]: self.get(key) for key in self.raw if key.startswith(prefix)}
        return {key: value for key, value in found.items() if value is not None}

    def indexed(self, prefix: str) -> list[dict[str, Any]]:
        """Flattened lists: `<prefix>.<N>.<rest>` as one dict of `rest` to value for each N, in order of N."""
        if prefix not in self._indexed:
            rows: dict[int, dict[str, Any]] = {}
            for key, value in self.under(prefix + ".").items():
                number, _, rest = key.partition(".")
                if number.isdecimal() and len(number) <= _MAX_INDEX_DIGITS:
                    rows.setdefault(int(number), {})[rest] = value
            self._indexed[prefix] = [rows[number] for number in sorted(rows)]
        return self._indexed[prefix]

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """The span's events in order, as name and attributes."""
        return [(event.name, as_dict(event.attributes)) for event in self.span.events]


_MAX_INDEX_DIGITS = 6


def nested(row: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Within one row of `SpanView.indexed`, the rows of a list flattened under `<prefix>.<N>.`."""
    rows: dict[int, dict[str, Any]] = {}
    start = prefix + "."
    for key, value in row.items():
        if key.startswith(start):
            number, _, rest = key[len(start) :].partition(".")
            if number.isdecimal() and len(number) <= _MAX_INDEX_DIGITS:
                rows.setdefault(int(number), {})[rest] = value
    return [rows[number] for number in sorted(rows)]
