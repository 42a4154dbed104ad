"""Fragments: a journalled request taken apart into what it holds of each trace. Pure.

Spans are cut out of the serialized request and joined again, byte by byte as they came. To decode, copy and serialize
them takes more than twice as long, for the same bytes; and a field that this version of OTLP does not know stays where
it is. This leans on two rules of protobuf (https://protobuf.dev/programming-guides/encoding): a field's tag and value
can be moved to another message of the same type as they are, and messages of one type, one after the other, are one
message whose repeated fields hold what each of them held. So a fragment is a request, and fragments joined are one too.
"""

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
"""Tags of a span's fields 1 and 2, the ids, with the lengths that valid ids have."""
_TRACE_STATE, _PARENT = 0x1A, 0x22
"""Tags of a span's fields 3 and 4."""
_NO_PARENT = (b"\x22\x00", b"\x22\x08" + bytes(8))
"""Field 4 of a root as some senders write it; most leave it out."""

_Part: TypeAlias = tuple[bytes, bytes, int, bool]
"""A trace id, a serialized request, how many spans it holds, and whether one is a root."""


@dataclass(slots=True)
class Fragment:
    """What one request holds of one trace, in `payload`: a serialized request of its own, empty if nothing is left.

    `spans` is how many it holds, none if it `is_log` and holds log records; `has_root` says that one is a root.
    `dropped` counts spans that were left out, as their trace is too large already.
    """

    trace_id: bytes
    payload: bytes
    spans: int = 0
    has_root: bool = False
    is_log: bool = False
    dropped: int = 0


def fragments(row: Row) -> list[Fragment]:
    """Return the fragments of a row, less those of traces that were settled before.

    Raises:
        DecodeError: the row holds no OTLP request.
    """
    if row.entry.signal == "logs":
        return _split_logs(row.entry.payload, row.settled)
    if not row.entry.sound:
        # Cutting reads no more of a span than its ids. What can't be decoded is to be known here, where it costs one
        # row: when the trace is released it would be in one message with what came in other rows.
        Batch.FromString(row.entry.payload)
    return _split_spans(row.entry.payload, row.settled)


def cut(fragment: Fragment, most: int, size: int) -> Fragment:
    """Return a fragment with less in it: the first spans that fit, and its root in any case.

    The root names the trace, ends it and says where it goes: without it the rest of the trace would be lost too.

    Args:
        fragment: Spans of one trace.
        most: How many spans may stay.
        size: How many bytes they may have together.
    """
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
    """Leave each span of a trace once, as it came last: a sender that missed the OK sends the same again.

    The batch is edited in place, from its end, so that the last one of each id is met first.
    """
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
    """Yield what each scope of each resource holds of each trace, as a request of its own.

    Everything of a resource but its scopes (its attributes, its schema URL) goes around each part of it, as it came.
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
    """Yield what one scope holds of each trace; `scope` is where its message lies, `around` what is around it."""
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
    """Where the spans of one trace are in a scope; those that follow each other are one stretch, copied at once."""

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
    """Return the trace id of a span, and whether it is a root.

    Protobuf's libraries write the fields of a message in the order of their numbers, so a span begins with its ids: 2
    bytes of tag and length and 16 of id, then 2 and 8. The order is no promise, and ids may have other lengths: a span
    that begins otherwise is decoded. To guess would put a span into another trace.
    """
    if data[at : at + 2] != _TRACE_ID or data[at + 18 : at + 20] != _SPAN_ID:
        span = Span.FromString(data[at:end])
        return span.trace_id, span.parent_span_id in NO_PARENT
    after = at + 28
    if after < end and data[after] == _TRACE_STATE:
        _, _, after = field(data, after, end)
    # A parent would stand here, before all that has a greater number; if something else does, the span has none.
    has_parent = after < end and data[after] == _PARENT and not data.startswith(_NO_PARENT, after)
    return data[at + 2 : at + 18], not has_parent


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield of each field of a message its number, where it begins, where its value begins, and where it ends."""
    while at < end:
        number, value, stop = field(data, at, end)
        yield number, at, value, stop
        at = stop


def _split_logs(payload: bytes, skip: frozenset[bytes]) -> list[Fragment]:
    """Return the fragments of a request of log records; decoded, as there are few and a record's id is not in front."""
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
