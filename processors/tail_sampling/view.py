"""A trace as policies see it: its spans, and the attributes they asked for, gathered in one walk."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.processors.types import NO_PARENT, Trace, spans


class View:
    """A trace under decision. What costs a walk over the trace is done once, when it is first asked for."""

    __slots__ = ("_attributes", "_keys", "_size", "spans", "trace")

    def __init__(self, trace: Trace, keys: AbstractSet[str]) -> None:
        self.trace = trace
        self.spans: list[Span] = list(spans(trace.batch))
        self._keys = keys
        self._size = -1
        self._attributes: dict[str, list[tuple[Span | None, AnyValue]]] | None = None

    @property
    def size(self) -> int:
        """The protobuf size of the trace in bytes."""
        if self._size < 0:
            self._size = self.trace.batch.ByteSize()
        return self._size

    def attributes(self, key: str) -> list[tuple[Span | None, AnyValue]]:
        """Return every value of one of the keys with the span that has it, or with None if a resource has it."""
        if self._attributes is None:
            self._attributes = self._gathered()
        return self._attributes[key]

    def strings(self, key: str) -> list[str]:
        """Return the values of an attribute that are strings, a root span's first."""
        found = [(span, value.string_value) for span, value in self.attributes(key) if value.HasField("string_value")]
        return [text for _, text in sorted(found, key=lambda pair: pair[0] is None or not is_root(pair[0]))]

    def _gathered(self) -> dict[str, list[tuple[Span | None, AnyValue]]]:
        found: dict[str, list[tuple[Span | None, AnyValue]]] = {key: [] for key in self._keys}
        for resource_spans in self.trace.batch.resource_spans:
            for attribute in resource_spans.resource.attributes:
                if attribute.key in found:
                    found[attribute.key].append((None, attribute.value))
        for span in self.spans:
            for attribute in span.attributes:
                key = attribute.key
                if key in found:
                    found[key].append((span, attribute.value))
        return found


def is_root(span: Span) -> bool:
    """Return whether a span has no parent."""
    return span.parent_span_id in NO_PARENT
