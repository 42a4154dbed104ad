"""What MLflow is told of one trace: its cleaned spans and everything beside them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Literal, TypeAlias

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.exporters.mlflow.cleaning import MAX_TIME, NAME_LENGTH, SPAN_ID_BYTES, TRACE_ID_BYTES, clean_span
from collector.exporters.mlflow.tags import TRACE_NAME, TRACE_TAG, by_root, clean_tags, tag_attribute
from collector.exporters.mlflow.values import from_python, plain_text, text
from processors.attributes import find, put
from processors.types import NO_PARENT, Batch, Trace

State: TypeAlias = Literal["OK", "ERROR", "IN_PROGRESS"]

METADATA_KEY_LENGTH = 250
METADATA_VALUE_LENGTH = 8000
REQUEST_ID_LENGTH = 50

_MS = 1_000_000
_KIND_WORDS = {
    Span.SPAN_KIND_SERVER: "server",
    Span.SPAN_KIND_CLIENT: "client",
    Span.SPAN_KIND_PRODUCER: "producer",
    Span.SPAN_KIND_CONSUMER: "consumer",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a span came from; `service` is the resource's service.name."""

    resource: Resource
    scope: InstrumentationScope
    service: str


@dataclass(slots=True)
class TraceRecord:
    """One trace, or a late part of it, ready for MLflow.

    `spans` are cleaned copies and `origins` where each came from; the first is the head: the root, or without a
    root the earliest top-most span. `name`, `state` and `tags` are read from it. `start_ms` and `end_ms` bound the
    spans. `has_root` says that the head is the root, `late` that MLflow has seen another part before.
    """

    trace_id: bytes
    spans: list[Span]
    origins: list[Origin]
    name: str
    state: State
    start_ms: int
    end_ms: int
    tags: dict[str, str]
    metadata: dict[str, str]
    client_request_id: str
    has_root: bool
    late: bool

    @property
    def mlflow_id(self) -> str:
        """MLflow's trace id."""
        return "tr-" + self.trace_id.hex()

    @property
    def resource(self) -> Resource:
        """The tags in the form MLflow takes them from OTLP; those it takes from the root alone are on the root."""
        resource = Resource()
        for key, value in self.tags.items():
            if not by_root(key):
                resource.attributes.add(key=key).value.string_value = value
        return resource

    @property
    def batch(self) -> Batch:
        """The spans as OTLP, under the resource that makes MLflow's tags of them."""
        batch = Batch()
        resource_spans = batch.resource_spans.add(resource=self.resource)
        resource_spans.scope_spans.add().spans.extend(self.spans)
        return batch


class Recorder:
    """Makes records; `resource_tags` are globs of the resource attributes that become trace tags."""

    def __init__(self, resource_tags: Sequence[str]) -> None:
        self._is_tag = re.compile("|".join(map(translate, resource_tags)) or r"(?!)").match

    def __call__(self, trace: Trace, now: int) -> TraceRecord | None:
        """The record of a trace, which is left as it was; None if it has no valid span. `now` is in ns."""
        placed = _copies(trace)
        if not placed:
            return None
        spans = [span for span, _ in placed]
        mend_times(spans, now)
        placed.insert(0, placed.pop(_head(spans)))
        head, origin = placed[0]
        has_root = not head.parent_span_id
        # The tags of a trace are those of its root's part: a late part without it must not overwrite them.
        tags = {} if trace.late and not has_root else self._tags(head, origin.resource)
        tags |= clean_tags(trace.tags.items())
        name = (tags.pop(TRACE_NAME, "") or text(head.name))[:NAME_LENGTH]
        record = TraceRecord(
            trace_id=trace.trace_id,
            spans=[span for span, _ in placed],
            origins=[origin for _, origin in placed],
            name=name,
            state="ERROR" if head.status.code == Status.STATUS_CODE_ERROR else "OK",
            start_ms=min(span.start_time_unix_nano for span in spans) // _MS,
            end_ms=max(span.end_time_unix_nano for span in spans) // _MS,
            tags=tags,
            metadata=_metadata(trace),
            client_request_id=from_python(trace.client_request_id)[:REQUEST_ID_LENGTH],
            has_root=has_root,
            late=trace.late,
        )
        _finish(record)
        return record

    def _tags(self, head: Span, resource: Resource) -> dict[str, str]:
        """Those of the resource, overwritten by those the sender set; a sender may not touch MLflow's own."""
        tags = {a.key: plain_text(a.value) for a in resource.attributes if self._is_tag(a.key)}
        tags = {key: value for key, value in tags.items() if value}
        for attribute in head.attributes:
            key = attribute.key.removeprefix(TRACE_TAG)
            if key != attribute.key and (key == TRACE_NAME or not key.startswith("mlflow.")):
                tags[key] = plain_text(attribute.value)
        return clean_tags(tags.items())


def _copies(trace: Trace) -> list[tuple[Span, Origin]]:
    """Copies of the valid spans, each id once: PostgreSQL refuses a row that occurs twice in one upsert."""
    placed: dict[bytes, tuple[Span, Origin]] = {}
    if len(trace.trace_id) != TRACE_ID_BYTES or not any(trace.trace_id):
        return []
    for resource_spans in trace.batch.resource_spans:
        service = find(resource_spans.resource.attributes, "service.name")
        name = plain_text(service) if service is not None else ""
        for scope_spans in resource_spans.scope_spans:
            origin = Origin(resource_spans.resource, scope_spans.scope, name)
            for original in scope_spans.spans:
                if not _belongs(original, trace.trace_id):
                    continue
                span = Span()
                span.CopyFrom(original)
                span.parent_span_id = _parent(original)
                placed[span.span_id] = (span, origin)
    return list(placed.values())


def _belongs(span: Span, trace_id: bytes) -> bool:
    """Whether a span has the ids that OTLP asks for: of the right length, not all zero."""
    return span.trace_id == trace_id and len(span.span_id) == SPAN_ID_BYTES and any(span.span_id)


def _parent(span: Span) -> bytes:
    """The parent id, empty for a root; a span that names itself as its parent is one."""
    parent = span.parent_span_id
    if parent in NO_PARENT or parent == span.span_id:
        return b""
    return parent[-SPAN_ID_BYTES:].rjust(SPAN_ID_BYTES, b"\0")


def _head(spans: Sequence[Span]) -> int:
    """The index of the root, or of the earliest span whose parent is not here."""
    ids = {span.span_id for span in spans}

    def order(index: int) -> tuple[bool, bool, int]:
        parent = spans[index].parent_span_id
        return (bool(parent), parent in ids, spans[index].start_time_unix_nano)

    return min(range(len(spans)), key=order)


def mend_times(spans: Iterable[Span], now: int) -> None:
    """Give each span a start and an end that MLflow can store, in place: what is missing is guessed from the rest.

    Zero would read as 1970 or as a negative duration, and more than a BIGINT is refused.
    """
    spans = list(spans)
    times = [time for span in spans for time in (span.start_time_unix_nano, span.end_time_unix_nano)]
    earliest = min((time for time in times if 0 < time <= MAX_TIME), default=now)
    for span in spans:
        start, end = span.start_time_unix_nano, span.end_time_unix_nano
        if 0 < start <= end <= MAX_TIME:
            continue
        end = end if end <= MAX_TIME else 0
        start = start if 0 < start <= MAX_TIME else end or earliest
        span.start_time_unix_nano = start
        span.end_time_unix_nano = max(start, end)


def _metadata(trace: Trace) -> dict[str, str]:
    return {
        from_python(key)[:METADATA_KEY_LENGTH]: from_python(value)[:METADATA_VALUE_LENGTH]
        for key, value in trace.metadata.items()
    }


def _finish(record: TraceRecord) -> None:
    """Clean the spans, and put into attributes what MLflow would drop or reads from there."""
    home = record.origins[0].service if record.has_root or not record.late else ""
    for span, origin in zip(record.spans, record.origins, strict=True):
        clean_span(span)
        _describe(span, origin, home)
    if not record.has_root:
        return
    head = record.spans[0]
    if record.name:
        put(head.attributes, TRACE_TAG + TRACE_NAME, tag_attribute(record.name))
    for key, value in record.tags.items():
        if by_root(key):
            put(head.attributes, TRACE_TAG + key, tag_attribute(value))


def _describe(span: Span, origin: Origin, home: str) -> None:
    """Keep what MLflow drops, named as in OTel's mapping to non-OTLP formats; what the sender set stays."""
    facts = {
        "otel.scope.name": origin.scope.name,
        "otel.scope.version": origin.scope.version,
        "otel.trace_state": span.trace_state,
        "span.kind": _KIND_WORDS.get(span.kind, ""),
        "service.name": origin.service if origin.service != home else "",
    }
    for key, value in facts.items():
        if value and find(span.attributes, key) is None:
            put(span.attributes, key, text(value))
