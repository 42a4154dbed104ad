"""Attribute values no longer than a limit: what is longer is cut, with a mark that says so. Pure.

OpenTelemetry's SDKs call the limit `attribute_value_length_limit` and count characters too (common specification,
"Attribute Limits"); they leave no mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from processors.types import Batch, Logs, spans


def truncate(request: Batch | Logs, limit: int) -> int:
    """Cut strings (in characters) and bytes longer than `limit`, in place; returns how many were."""
    return sum(_cut(value, limit) for value in _values(request))


def _values(request: Batch | Logs) -> Iterator[AnyValue]:
    lists = _span_attributes(request) if isinstance(request, Batch) else _record_attributes(request)
    for attributes in lists:
        for attribute in attributes:
            yield attribute.value
    if isinstance(request, Logs):
        for resource_logs in request.resource_logs:
            for scope_logs in resource_logs.scope_logs:
                yield from (record.body for record in scope_logs.log_records)


def _span_attributes(batch: Batch) -> Iterator[Iterable[KeyValue]]:
    for resource_spans in batch.resource_spans:
        yield resource_spans.resource.attributes
        yield from (scope_spans.scope.attributes for scope_spans in resource_spans.scope_spans)
    for span in spans(batch):
        yield span.attributes
        yield from (event.attributes for event in span.events)
        yield from (link.attributes for link in span.links)


def _record_attributes(logs: Logs) -> Iterator[Iterable[KeyValue]]:
    for resource_logs in logs.resource_logs:
        yield resource_logs.resource.attributes
        for scope_logs in resource_logs.scope_logs:
            yield scope_logs.scope.attributes
            yield from (record.attributes for record in scope_logs.log_records)


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
