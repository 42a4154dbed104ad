"""Pure: takes a journalled request apart into what it holds of each trace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.journal import Row
from processors.types import NO_PARENT, Batch, Logs, spans

Item = TypeVar("Item", Span, LogRecord)


@dataclass(slots=True)
class Piece:
    """What one request holds of one trace: a serialized request of its own.

    `dropped` counts spans that were left out, as their trace is too large already.
    """

    trace_id: bytes
    payload: bytes
    spans: int = 0
    has_root: bool = False
    is_log: bool = False
    dropped: int = 0


def pieces(row: Row) -> list[Piece]:
    """The pieces of a row, less those of traces that were settled before."""
    if row.entry.signal == "logs":
        return _split_logs(row.entry.payload, row.settled)
    return _split_spans(row.entry.payload, row.settled)


def cut(piece: Piece, most: int, size: int) -> Piece:
    """A piece with at most so many spans, of at most so many bytes together, and with its root in any case."""
    batch = Batch.FromString(piece.payload)
    kept = 0
    for resource_spans in batch.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            chosen = []
            for span in scope_spans.spans:
                fits = kept < most and span.ByteSize() <= size
                if fits or span.parent_span_id in NO_PARENT:
                    chosen.append(span)
                    kept += 1
                    size -= span.ByteSize()
            del scope_spans.spans[:]
            scope_spans.spans.extend(chosen)
    payload = batch.SerializeToString() if kept else b""
    return Piece(piece.trace_id, payload, kept, piece.has_root, dropped=piece.spans - kept)


def drop_repeats(batch: Batch) -> None:
    """Leave each span of a trace once, as it came last: a sender that missed the OK sends the same again."""
    ids = [span.span_id for span in spans(batch)]
    seen: set[bytes] = set()
    if len(set(ids)) == len(ids):
        return
    for resource_spans in reversed(batch.resource_spans):
        for scope_spans in reversed(resource_spans.scope_spans):
            for index in reversed(range(len(scope_spans.spans))):
                span_id = scope_spans.spans[index].span_id
                if span_id in seen:
                    del scope_spans.spans[index]
                seen.add(span_id)


def _split_spans(payload: bytes, skip: frozenset[bytes]) -> list[Piece]:
    parts: dict[bytes, Batch] = {}
    found: dict[bytes, Piece] = {}
    for resource_spans in Batch.FromString(payload).resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for trace_id, chosen in _by_trace(scope_spans.spans, skip).items():
                target = parts.setdefault(trace_id, Batch()).resource_spans.add(schema_url=resource_spans.schema_url)
                target.resource.CopyFrom(resource_spans.resource)
                scope = target.scope_spans.add(schema_url=scope_spans.schema_url)
                scope.scope.CopyFrom(scope_spans.scope)
                scope.spans.extend(chosen)
                piece = found.setdefault(trace_id, Piece(trace_id, b""))
                piece.spans += len(chosen)
                piece.has_root = piece.has_root or any(span.parent_span_id in NO_PARENT for span in chosen)
    for trace_id, piece in found.items():
        piece.payload = parts[trace_id].SerializeToString()
    return list(found.values())


def _split_logs(payload: bytes, skip: frozenset[bytes]) -> list[Piece]:
    parts: dict[bytes, Logs] = {}
    for resource_logs in Logs.FromString(payload).resource_logs:
        for scope_logs in resource_logs.scope_logs:
            for trace_id, records in _by_trace(scope_logs.log_records, skip).items():
                target = parts.setdefault(trace_id, Logs()).resource_logs.add(schema_url=resource_logs.schema_url)
                target.resource.CopyFrom(resource_logs.resource)
                scope = target.scope_logs.add(schema_url=scope_logs.schema_url)
                scope.scope.CopyFrom(scope_logs.scope)
                scope.log_records.extend(records)
    return [Piece(trace_id, part.SerializeToString(), is_log=True) for trace_id, part in parts.items()]


def _by_trace(items: Iterable[Item], skip: frozenset[bytes]) -> dict[bytes, list[Item]]:
    groups: dict[bytes, list[Item]] = {}
    for item in items:
        trace_id = item.trace_id
        if trace_id not in skip:
            groups.setdefault(trace_id, []).append(item)
    return groups
