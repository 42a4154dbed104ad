"""The record of one trace: its sanitized spans, and everything that MLflow is told beside them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from operator import attrgetter
from typing import Literal, TypeAlias

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from spanbridge.collector.exporters.mlflow.record.sanitize import (
    MAX_TIME,
    NAME_LENGTH,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Attributes,
    by_key,
    clean_already,
    clean_span,
)
from spanbridge.collector.exporters.mlflow.record.tags import TRACE_NAME, TRACE_TAG, by_root, clean_tags, tag_attribute
from spanbridge.collector.exporters.mlflow.record.values import KeyRule, from_python, plain_text, text
from spanbridge.processors.attributes import find, put
from spanbridge.processors.types import NO_PARENT, Trace

State: TypeAlias = Literal["OK", "ERROR", "IN_PROGRESS"]

METADATA_KEY_LENGTH = 250
METADATA_VALUE_LENGTH = 8000
REQUEST_ID_LENGTH = 50

_MS = 1_000_000
_parent_id = attrgetter("parent_span_id")
_start, _end = attrgetter("start_time_unix_nano"), attrgetter("end_time_unix_nano")
_KIND_WORDS = {
    Span.SPAN_KIND_SERVER: "server",
    Span.SPAN_KIND_CLIENT: "client",
    Span.SPAN_KIND_PRODUCER: "producer",
    Span.SPAN_KIND_CONSUMER: "consumer",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """The resource and scope of a span.

    `service` is the resource's service.name, `facts` what MLflow drops of the scope.
    """

    resource: Resource
    scope: InstrumentationScope
    service: str
    facts: Mapping[str, str]


@dataclass(slots=True)
class TraceRecord:
    """One trace, or a late part of it, ready for MLflow.

    `sent` are its valid spans, which are not to be changed, and `origins` where each came from; the first is the head:
    the root, or without a root the earliest top-most span. `name`, `state` and `tags` are read from it. `start_ms` and
    `end_ms` bound the spans. `has_root` says that the head is the root, `late` that MLflow has seen another part
    before.
    """

    trace_id: bytes
    sent: list[Span]
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
    _spans: list[Span] = field(default_factory=list)

    @property
    def mlflow_id(self) -> str:
        """MLflow's trace id."""
        return "tr-" + self.trace_id.hex()

    @property
    def spans(self) -> list[Span]:
        """Sanitized copies of the spans, made once, the head first.

        What MLflow would drop is among their attributes, and on the root what MLflow reads from there.
        """
        if not self._spans:
            self._spans = [_cleaned(span) for span in self.sent]
            for span, facts in zip(self._spans, self._facts(), strict=True):
                for key, value in facts.items():
                    if find(span.attributes, key) is None:
                        put(span.attributes, key, value)
            for key, value in self._root_tags():
                put(self._spans[0].attributes, key, value)
        return self._spans

    def attributes(self) -> list[tuple[Span, Attributes]]:
        """Pair each span with the attributes that it has in `spans`; one with nothing to sanitize is not copied."""
        found = [] if self._spans else [clean_already(span) for span in self.sent]
        if not found or None in found:
            return [(span, by_key(span.attributes)) for span in self.spans]
        attributes = [own for own in found if own is not None]
        for own, facts in zip(attributes, self._facts(), strict=True):
            for key, value in facts.items():
                own.setdefault(key, value)
        attributes[0].update(self._root_tags())
        return list(zip(self.sent, attributes, strict=True))

    @property
    def resource(self) -> Resource:
        """The tags in the form MLflow takes them from OTLP; those it takes from the root alone are on the root."""
        resource = Resource()
        for key, value in self.tags.items():
            if not by_root(key):
                resource.attributes.add(key=key).value.string_value = value
        return resource

    def _facts(self) -> Iterator[Mapping[str, str]]:
        """What MLflow drops of each span, named as in OTel's mapping to non-OTLP formats."""
        home = self.origins[0].service if self.has_root or not self.late else ""
        for span, origin in zip(self.sent, self.origins, strict=True):
            facts = origin.facts
            if (word := _KIND_WORDS.get(span.kind)) is not None:
                facts = {**facts, "span.kind": word}
            if state := span.trace_state:
                facts = {**facts, "otel.trace_state": text(state)}
            if origin.service not in ("", home):
                facts = {**facts, "service.name": text(origin.service)}
            yield facts

    def _root_tags(self) -> Iterator[tuple[str, str]]:
        """What MLflow takes from attributes of the root: the trace's name, and some tags."""
        if not self.has_root:
            return
        if self.name:
            yield TRACE_TAG + TRACE_NAME, tag_attribute(self.name)
        for key, value in self.tags.items():
            if by_root(key):
                yield TRACE_TAG + key, tag_attribute(value)


class Recorder:
    """A maker of records.

    Args:
        resource_tags: Globs of the resource attributes that become trace tags.
    """

    def __init__(self, resource_tags: Sequence[str]) -> None:
        match = re.compile("|".join(map(translate, resource_tags)) or r"(?!)").match
        self._is_tag = KeyRule(lambda key: match(key) is not None)

    def __call__(self, trace: Trace, now: int) -> TraceRecord | None:
        """Make the record of a trace.

        Args:
            trace: It is left as it was.
            now: The time in ns, for spans that have none.

        Returns:
            The record; None if the trace has no valid span.
        """
        placed = _placed(trace)
        if not placed:
            return None
        if not all(_is_tidy(span) for span, _ in placed):
            placed = _tidied(placed, now)
        spans = [span for span, _ in placed]
        placed.insert(0, placed.pop(_head(spans)))
        head, origin = placed[0]
        has_root = not head.parent_span_id
        # The tags of a trace are those of its root's part: a late part without it must not overwrite them.
        tags = {} if trace.late and not has_root else self._tags(head, origin.resource)
        tags |= clean_tags(trace.tags.items())
        return TraceRecord(
            trace_id=trace.trace_id,
            sent=[span for span, _ in placed],
            origins=[origin for _, origin in placed],
            name=(tags.pop(TRACE_NAME, "") or text(head.name))[:NAME_LENGTH],
            state="ERROR" if head.status.code == Status.STATUS_CODE_ERROR else "OK",
            start_ms=min(map(_start, spans)) // _MS,
            end_ms=max(map(_end, spans)) // _MS,
            tags=tags,
            metadata=_metadata(trace),
            client_request_id=from_python(trace.client_request_id)[:REQUEST_ID_LENGTH],
            has_root=has_root,
            late=trace.late,
        )

    def _tags(self, head: Span, resource: Resource) -> dict[str, str]:
        """Those of the resource, overwritten by those the sender set; a sender may not touch MLflow's own."""
        tags = {a.key: plain_text(a.value) for a in resource.attributes if self._is_tag[a.key]}
        tags = {key: value for key, value in tags.items() if value}
        for attribute in head.attributes:
            key = attribute.key.removeprefix(TRACE_TAG)
            if key != attribute.key and (key == TRACE_NAME or not key.startswith("mlflow.")):
                tags[key] = plain_text(attribute.value)
        return clean_tags(tags.items())


def _placed(trace: Trace) -> list[tuple[Span, Origin]]:
    """The valid spans, each id once: PostgreSQL refuses a row that occurs twice in one upsert."""
    placed: dict[bytes, tuple[Span, Origin]] = {}
    if len(trace.trace_id) != TRACE_ID_BYTES or not any(trace.trace_id):
        return []
    for resource_spans in trace.batch.resource_spans:
        service = find(resource_spans.resource.attributes, "service.name")
        name = plain_text(service) if service is not None else ""
        for scope_spans in resource_spans.scope_spans:
            origin = Origin(resource_spans.resource, scope_spans.scope, name, _facts_of(scope_spans.scope))
            for span in scope_spans.spans:
                span_id = span.span_id
                # The ids have to be as OTLP asks for: of the right length, not all zero.
                if span.trace_id == trace.trace_id and len(span_id) == SPAN_ID_BYTES and span_id not in NO_PARENT:
                    placed[span_id] = (span, origin)
    return list(placed.values())


def _facts_of(scope: InstrumentationScope) -> dict[str, str]:
    facts = {"otel.scope.name": text(scope.name), "otel.scope.version": text(scope.version)}
    return {key: value for key, value in facts.items() if value}


def _is_tidy(span: Span) -> bool:
    """Whether a span's parent and times can be stored as they are."""
    parent = span.parent_span_id
    if parent and (parent == span.span_id or parent in NO_PARENT or len(parent) != SPAN_ID_BYTES):
        return False
    return 0 < span.start_time_unix_nano <= span.end_time_unix_nano <= MAX_TIME


def _tidied(placed: Iterable[tuple[Span, Origin]], now: int) -> list[tuple[Span, Origin]]:
    """Copies of the spans with parents and times that MLflow can store."""
    copies = []
    for original, origin in placed:
        span = Span()
        span.CopyFrom(original)
        span.parent_span_id = _parent(original)
        copies.append((span, origin))
    mend_times((span for span, _ in copies), now)
    return copies


def _parent(span: Span) -> bytes:
    """The parent id, empty for a root; a span that names itself as its parent is one."""
    parent = span.parent_span_id
    if parent in NO_PARENT or parent == span.span_id:
        return b""
    return parent[-SPAN_ID_BYTES:].rjust(SPAN_ID_BYTES, b"\0")


def _cleaned(span: Span) -> Span:
    copy = Span()
    copy.CopyFrom(span)
    clean_span(copy)
    return copy


def _head(spans: Sequence[Span]) -> int:
    """The index of the root, or of the earliest span whose parent is not here."""
    parents = list(map(_parent_id, spans))
    if parents.count(b"") == 1:
        return parents.index(b"")
    ids = {span.span_id for span in spans}

    def order(index: int) -> tuple[bool, bool, int]:
        return (bool(parents[index]), parents[index] in ids, spans[index].start_time_unix_nano)

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
