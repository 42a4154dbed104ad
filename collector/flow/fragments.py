"""Pure: takes a journalled request apart into what it holds of each trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.collector.journal import Row
from spanbridge.collector.otlp.wire import field, wrapped
from spanbridge.processors.types import NO_PARENT, Batch, Logs, spans

_RESOURCE_SPANS = 1
"""Of an ExportTraceServiceRequest."""
_SCOPE_SPANS = 2
"""Of a ResourceSpans."""
_SPANS = 2
"""Of a ScopeSpans."""
_TRACE_ID, _SPAN_ID = b"\x0a\x10", b"\x12\x08"
"""Tags of a span's ids, with their lengths."""
_TRACE_STATE, _PARENT = 0x1A, 0x22
"""Tags of a span's next fields."""
_NO_PARENT = (b"\x22\x00", b"\x22\x08" + bytes(8))

_Part: TypeAlias = tuple[bytes, bytes, int, bool]
"""A trace id, a serialized request, how many spans it holds, and whether one is a root."""


@dataclass(slots=True)
class Fragment:
    """What one request holds of one trace: a serialized request of its own.

    `dropped` counts spans that were left out, as their trace is too large already.
    """

    trace_id: bytes
    payload: bytes
    spans: int = 0
    has_root: bool = False
    is_log: bool = False
    dropped: int = 0


def fragments(row: Row) -> list[Fragment]:
    """The fragments of a row, less those of traces that were settled before. Raises DecodeError."""
    if row.entry.signal == "logs":
        return _split_logs(row.entry.payload, row.settled)
    if not row.entry.sound:
        Batch.FromString(row.entry.payload)  # what can't be read is to be known here, not when a trace is released
    return _split_spans(row.entry.payload, row.settled)


def cut(fragment: Fragment, most: int, size: int) -> Fragment:
    """A fragment with at most so many spans, of at most so many bytes together, and with its root in any case."""
    batch = Batch.FromString(fragment.payload)
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
    return Fragment(fragment.trace_id, payload, kept, fragment.has_root, dropped=fragment.spans - kept)


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


def _split_spans(payload: bytes, skip: frozenset[bytes]) -> list[Fragment]:
    found: dict[bytes, Fragment] = {}
    parts: dict[bytes, list[bytes]] = {}
    for trace_id, part, count, has_root in _parts(payload):
        if trace_id in skip:
            continue
        fragment = found.setdefault(trace_id, Fragment(trace_id, b""))
        fragment.spans += count
        fragment.has_root = fragment.has_root or has_root
        parts.setdefault(trace_id, []).append(part)
    for trace_id, fragment in found.items():
        fragment.payload = b"".join(parts[trace_id])
    return list(found.values())


def _parts(data: bytes) -> Iterator[_Part]:
    """What each scope of each resource holds of each trace, as a request of its own.

    Cut out of the serialized form and joined again: to decode, copy and serialize takes more than twice as long.
    """
    for number, _, value, stop in _fields(data, 0, len(data)):
        if number != _RESOURCE_SPANS:
            continue
        own, scopes = [], []
        for inner, begin, value_, end in _fields(data, value, stop):
            if inner == _SCOPE_SPANS:
                scopes.append((value_, end))
            else:
                own.append(data[begin:end])
        around = b"".join(own)
        for scope in scopes:
            yield from _parts_of_scope(data, scope, around)


def _parts_of_scope(data: bytes, scope: tuple[int, int], around: bytes) -> Iterator[_Part]:
    runs: dict[bytes, _Run] = {}
    own = []
    for number, begin, value, end in _fields(data, *scope):
        if number != _SPANS:
            own.append(data[begin:end])
            continue
        trace_id, is_root = _identity(data, value, end)
        run = runs.get(trace_id)
        if run is None:
            run = runs[trace_id] = _Run()
        run.add(begin, end, is_root=is_root)
    head = b"".join(own)
    for trace_id, run in runs.items():
        cuts = (data[begin:end] for begin, end in zip(run.begins, run.ends, strict=True))
        inside = wrapped(_SCOPE_SPANS, head + b"".join(cuts))
        yield trace_id, wrapped(_RESOURCE_SPANS, around + inside), run.spans, run.has_root


class _Run:
    """Where the spans of one trace are in a scope; those that follow each other are one stretch."""

    __slots__ = ("begins", "ends", "has_root", "spans")

    def __init__(self) -> None:
        self.begins: list[int] = []
        self.ends: list[int] = []
        self.spans = 0
        self.has_root = False

    def add(self, begin: int, end: int, *, is_root: bool) -> None:
        if self.ends and self.ends[-1] == begin:
            self.ends[-1] = end
        else:
            self.begins.append(begin)
            self.ends.append(end)
        self.spans += 1
        if is_root:
            self.has_root = True


def _identity(data: bytes, at: int, end: int) -> tuple[bytes, bool]:
    """The trace id of a span, and whether it is a root: what protobuf serializes begins with the ids."""
    if data[at : at + 2] != _TRACE_ID or data[at + 18 : at + 20] != _SPAN_ID:
        span = Span.FromString(data[at:end])
        return span.trace_id, span.parent_span_id in NO_PARENT
    after = at + 28
    if after < end and data[after] == _TRACE_STATE:
        _, _, after = field(data, after, end)
    has_parent = after < end and data[after] == _PARENT and not data.startswith(_NO_PARENT, after)
    return data[at + 2 : at + 18], not has_parent


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Of each field of a message: its number, where it begins, where its value begins, and where it ends."""
    while at < end:
        number, value, stop = field(data, at, end)
        yield number, at, value, stop
        at = stop


def _split_logs(payload: bytes, skip: frozenset[bytes]) -> list[Fragment]:
    parts: dict[bytes, Logs] = {}
    for resource_logs in Logs.FromString(payload).resource_logs:
        for scope_logs in resource_logs.scope_logs:
            for trace_id, records in _by_trace(scope_logs.log_records, skip).items():
                target = parts.setdefault(trace_id, Logs()).resource_logs.add(schema_url=resource_logs.schema_url)
                target.resource.CopyFrom(resource_logs.resource)
                scope = target.scope_logs.add(schema_url=scope_logs.schema_url)
                scope.scope.CopyFrom(scope_logs.scope)
                scope.log_records.extend(records)
    return [Fragment(trace_id, part.SerializeToString(), is_log=True) for trace_id, part in parts.items()]


def _by_trace(records: Iterable[LogRecord], skip: frozenset[bytes]) -> dict[bytes, list[LogRecord]]:
    groups: dict[bytes, list[LogRecord]] = {}
    for record in records:
        if record.trace_id not in skip:
            groups.setdefault(record.trace_id, []).append(record)
    return groups
