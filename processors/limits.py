"""Bounds on what one span holds: how long an attribute's value is, and how many attributes, events and links. Pure.

The limits are those of OpenTelemetry's SDKs (common specification, "Attribute Limits"; trace SDK, "Span Limits"). What
is too long is cut, with a mark that says so, which SDKs leave out; of what are too many the first stay, and the
`dropped_*_count` of OTLP says how many went, as an SDK would have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.processors.types import Batch, Logs, spans

_UINT32 = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class CountLimits:
    """Most attributes of one resource, scope, span, event, link or log record; most events and links of one span."""

    attributes: int
    events: int
    links: int

    @property
    def reach(self) -> int:
        """No request of so many bytes or less is over a limit: the least that is counted takes two."""
        return 2 * min(self.attributes, self.events, self.links)


def trim(request: Batch | Logs, limits: CountLimits) -> int:
    """Take out what is beyond the limits, in place; returns how many attributes, events and links that were."""
    if isinstance(request, Logs):
        return sum(_trim(holder, "attributes", limits.attributes) for holder in _in_records(request))
    dropped = sum(_trim(holder, "attributes", limits.attributes) for holder in _around_spans(request))
    most = limits.attributes
    for span in spans(request):
        # nearly all spans need no closer look
        if len(span.attributes) > most or span.events or span.links:
            dropped += _trim_span(span, limits)
    return dropped


def _trim_span(span: Span, limits: CountLimits) -> int:
    dropped = _trim(span, "events", limits.events) + _trim(span, "links", limits.links)
    return dropped + sum(_trim(holder, "attributes", limits.attributes) for holder in (span, *span.events, *span.links))


def _trim(holder: Message, name: str, limit: int) -> int:
    items = getattr(holder, name)
    excess = len(items) - limit
    if excess <= 0:
        return 0
    del items[limit:]
    counter = f"dropped_{name}_count"
    setattr(holder, counter, min(_UINT32, getattr(holder, counter) + excess))
    return excess


def truncate(request: Batch | Logs, limit: int) -> int:
    """Cut strings (in characters) and bytes longer than `limit`, in place; returns how many were."""
    return sum(_cut(value, limit) for value in _values(request))


def _values(request: Batch | Logs) -> Iterator[AnyValue]:
    for holder in _holders(request):
        for attribute in holder.attributes:
            yield attribute.value
    if isinstance(request, Logs):
        for resource_logs in request.resource_logs:
            for scope_logs in resource_logs.scope_logs:
                yield from (record.body for record in scope_logs.log_records)


def _holders(request: Batch | Logs) -> Iterator[Any]:
    """Every message of a request that has attributes."""
    return _in_spans(request) if isinstance(request, Batch) else _in_records(request)


def _around_spans(batch: Batch) -> Iterator[Any]:
    for resource_spans in batch.resource_spans:
        yield resource_spans.resource
        yield from (scope_spans.scope for scope_spans in resource_spans.scope_spans)


def _in_spans(batch: Batch) -> Iterator[Any]:
    yield from _around_spans(batch)
    for span in spans(batch):
        yield span
        yield from span.events
        yield from span.links


def _in_records(logs: Logs) -> Iterator[Any]:
    for resource_logs in logs.resource_logs:
        yield resource_logs.resource
        for scope_logs in resource_logs.scope_logs:
            yield scope_logs.scope
            yield from scope_logs.log_records


def _cut(value: AnyValue, limit: int) -> int:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return _cut_text(value, limit)
    if kind == "bytes_value" and len(value.bytes_value) > limit:
        value.bytes_value = value.bytes_value[:limit]
        return 1
    if kind == "array_value":
        return sum(_cut(item, limit) for item in value.array_value.values)
    if kind == "kvlist_value":
        return sum(_cut(item.value, limit) for item in value.kvlist_value.values)
    return 0


def _cut_text(value: AnyValue, limit: int) -> int:
    length = len(value.string_value)
    if length <= limit:
        return 0
    mark = f"... [{length} characters, cut]"
    value.string_value = value.string_value[: max(0, limit - len(mark))] + mark[: max(3, limit)]
    return 1
