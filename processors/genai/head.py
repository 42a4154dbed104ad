"""The head stage: each span, by itself, gets the `mlflow.*` attributes that its convention's facts amount to."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from processors.attributes import find
from processors.genai.config import GenAiConfig
from processors.genai.reading import INPUTS, OUTPUTS, Plan, Reading, event_content, stated
from processors.genai.values import is_empty, to_json
from processors.genai.view import SpanView
from processors.types import Batch


class GenAi:
    """Normalizes a batch in place, span by span. Running it again changes nothing.

    A `mlflow.*` attribute that a span brings along is left alone unless its source says `overwrite`. Originals stay;
    the trace stage drops them where `remove_originals` says so, after it has read them too.
    """

    def __init__(self, config: GenAiConfig) -> None:
        self._reading = Reading(config)
        self._custom = config.custom()

    def __call__(self, batch: Batch) -> Batch:
        """Normalize every span of the batch."""
        reading, custom = self._reading, self._custom
        for resource_spans in batch.resource_spans:
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    if custom:
                        self._map(span)
                    view = reading.view(span)
                    plan = reading.plan(view)
                    if plan.conventions:
                        _write(view, plan)
        return batch

    def _map(self, span: Span) -> None:
        """Contrib maps the attributes of spans and of their events alike."""
        for attributes in (span.attributes, *(event.attributes for event in span.events)):
            for key, target, source in self._custom:
                value, existing = find(attributes, key), find(attributes, target)
                if value is not None and existing is None:
                    attributes.add(key=target).value.CopyFrom(value)
                elif value is not None and existing is not None and source.overwrite:
                    existing.CopyFrom(value)


def _write(view: SpanView, plan: Plan) -> None:
    for key, readers in plan.facts:
        found = stated(readers, view)
        if found is not None:
            set_text(view, key, found)
    if (INPUTS not in view.raw or OUTPUTS not in view.raw) and view.span.events:
        write_content(view, plan, view.events())


def write_content(view: SpanView, plan: Plan, events: list[tuple[str, dict[str, Any]]]) -> None:
    """Set inputs and outputs, each where the span has none yet, from events of the span."""
    for key, found in zip((INPUTS, OUTPUTS), event_content(plan, view, events), strict=True):
        if key not in view.raw and not is_empty(found):
            set_text(view, key, found)


def set_text(view: SpanView, key: str, found: Any) -> None:
    """Set an attribute of the span: a text as it is, anything else as JSON."""
    view.set(key, found if isinstance(found, str) else to_json(found))
