"""One trace as the schemas read it: the type of each span at once, its attributes when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from spanbridge.processors.attributes import Value, by_key, find_last, to_python
from spanbridge.processors.types import NO_PARENT, Trace, spans

SPAN_TYPE = "mlflow.spanType"
_ERROR = Status.STATUS_CODE_ERROR


class SpanView:
    """A span, its MLflow span type and its attributes, which are read when one is asked for."""

    __slots__ = ("_attributes", "span", "type")

    def __init__(self, span: Span) -> None:
        self.span = span
        self._attributes: dict[str, KeyValue] | None = None
        found = find_last(span.attributes, SPAN_TYPE)  # where the `genai` processor has put it
        # MLflow's own tracing writes attributes as JSON, so a type may stand in quotes.
        self.type = "" if found is None else found.string_value.strip('"')

    @property
    def attributes(self) -> Mapping[str, KeyValue]:
        """The attributes by their keys; of a repeated key the last."""
        if self._attributes is None:
            self._attributes = by_key(self.span.attributes)
        return self._attributes

    def find(self, key: str) -> AnyValue | None:
        """Return the value under a key, or None. Of most spans one or two are asked for: not worth a mapping of all."""
        if self._attributes is None:
            return find_last(self.span.attributes, key)
        attribute = self._attributes.get(key)
        return None if attribute is None else attribute.value

    def value(self, key: str) -> Value:
        """Return the value under a key in its Python form, or None."""
        found = self.find(key)
        return None if found is None else to_python(found)

    def text(self, key: str) -> str:
        """Return a string attribute; an empty text if there is none."""
        found = self.find(key)
        return "" if found is None else found.string_value


class TraceView:
    """A trace as the schemas read it.

    The top span is the root or, in a trace whose root has not come, the earliest of the spans whose parent is not there
    either: what a service does for a caller that is traced elsewhere is all there is of the trace here.

    Attributes:
        spans: The spans, in the order of the batch.
        failed: Those of them that failed.
        top: The top span; None if there is no span.
        given: The attributes of the top span.
        has_root: Whether the root is there.
        resources: The attributes of each resource, the top span's first.
        metadata: The trace's metadata.
    """

    __slots__ = ("failed", "given", "has_root", "metadata", "resources", "spans", "top")

    def __init__(self, trace: Trace) -> None:
        self.metadata = trace.metadata
        self.spans = list(map(SpanView, spans(trace.batch)))
        self.resources: list[dict[str, KeyValue]] = []
        homes: list[int] = []
        for home, resource_spans in enumerate(trace.batch.resource_spans):
            self.resources.append(by_key(resource_spans.resource.attributes))
            for scope_spans in resource_spans.scope_spans:
                homes += [home] * len(scope_spans.spans)
        self.failed = [each for each in self.spans if each.span.status.code == _ERROR]
        self.top: SpanView | None = None
        self.given: Mapping[str, KeyValue] = {}
        tops = [place for place, each in enumerate(self.spans) if each.span.parent_span_id in NO_PARENT]
        self.has_root = bool(tops)
        if self.spans:
            tops = tops or self._orphans()
            top = tops[0] if len(tops) == 1 else min(tops, key=self._start)
            self.top = self.spans[top]
            self.given = self.top.attributes
            self.resources.insert(0, self.resources.pop(homes[top]))

    def root(self, key: str) -> Value:
        """Return an attribute of the top span, or None."""
        return self.top.value(key) if self.top and key in self.given else None

    def span(self, key: str) -> Value:
        """Return an attribute of the top span, or else of the first span that has it, or None."""
        if key in self.given:
            return self.root(key)
        holder = next((each for each in self.spans if key in each.attributes), None)
        return holder.value(key) if holder else None

    def resource(self, key: str) -> Value:
        """Return a resource attribute, or None."""
        for attributes in self.resources:
            if key in attributes:
                return to_python(attributes[key].value)
        return None

    def _start(self, place: int) -> int:
        return self.spans[place].span.start_time_unix_nano

    def _orphans(self) -> list[int]:
        present = {each.span.span_id for each in self.spans}
        orphans = [place for place, each in enumerate(self.spans) if each.span.parent_span_id not in present]
        return orphans or list(range(len(self.spans)))
