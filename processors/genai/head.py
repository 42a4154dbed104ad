"""The head stage: each span, by itself, gets the `mlflow.*` attributes that its convention's facts amount to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.processors.attributes import find
from spanbridge.processors.genai.config import GenAiConfig
from spanbridge.processors.genai.convention import Event
from spanbridge.processors.genai.encoding import attribute
from spanbridge.processors.genai.reading import CONTENT, INPUTS, OUTPUTS, Facts, Plan, Reading, event_content
from spanbridge.processors.genai.values import as_name, is_empty, to_json
from spanbridge.processors.genai.view import SpanView
from spanbridge.processors.types import Batch

_MAX_WRITTEN = 4096
_LONGEST_WORD = 128


class GenAi:
    """Normalizes a batch in place, span by span. Running it again changes nothing.

    A `mlflow.*` attribute that a span brings along is left alone unless its source says `overwrite`. Originals stay;
    the trace stage drops them where `remove_originals` says so, after it has read them too.
    """

    def __init__(self, config: GenAiConfig) -> None:
        self._reading = Reading(config)
        self._custom = config.custom()
        self._written: dict[tuple[Plan, tuple[str, ...]], bytes] = {}

    def __call__(self, batch: Batch) -> Batch:
        """Normalize every span of the batch."""
        reading, custom = self._reading, self._custom
        for resource_spans in batch.resource_spans:
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    if custom:
                        self._map(span)
                    view, plan = reading.read(span)
                    if plan.conventions:
                        self._write(view, plan)
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

    def _write(self, view: SpanView, plan: Plan) -> None:
        added, pieces = _encoded(view, plan.facts)
        pieces.append(self._words(view, plan))
        view.span.MergeFromString(b"".join(pieces))
        if (INPUTS not in added or OUTPUTS not in added) and view.span.events:
            missing = [key for key in CONTENT if key not in added and key not in view.places]
            write_content(view, plan, view.events(), missing)

    def _words(self, view: SpanView, plan: Plan) -> bytes:
        """Type, model and provider: the same few texts come again and again, so what they amount to is remembered."""
        attributes, places = view.attributes, view.places
        texts = tuple([attributes[places[key]].value.string_value for key in plan.spelled])
        written = self._written.get((plan, texts))
        if written is None:
            written = b"".join(_encoded(view, plan.words)[1])
            if all(len(text) <= _LONGEST_WORD and as_name(text) for text in texts):
                self._remember(plan, texts, written)
        return written

    def _remember(self, plan: Plan, texts: tuple[str, ...], written: bytes) -> None:
        if len(self._written) >= _MAX_WRITTEN:
            self._written.clear()
        self._written[plan, texts] = written


def _encoded(view: SpanView, facts: Facts) -> tuple[list[str], list[bytes]]:
    """The attributes to add: their keys, and the pieces of them all. Those that are there already are set at once."""
    added: list[str] = []
    pieces: list[bytes] = []
    for key, read in facts:
        found = read(view)
        if found is None or is_empty(found):
            continue
        if key in view.places:
            set_text(view, key, found)
        else:
            added.append(key)
            pieces += attribute(key, found)
    return added, pieces


def write_content(view: SpanView, plan: Plan, events: Sequence[Event], missing: Sequence[str]) -> None:
    """Set those of inputs and outputs that are missing from events of the span."""
    if not missing:
        return
    for key, found in zip(CONTENT, event_content(plan, view, events), strict=True):
        if key in missing and not is_empty(found):
            set_text(view, key, found)


def set_text(view: SpanView, key: str, found: Any) -> None:
    """Set an attribute of the span: a text as it is, anything else as JSON."""
    view.set(key, found if isinstance(found, str) else to_json(found))
