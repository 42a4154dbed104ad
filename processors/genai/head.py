"""The head stage: each span, by itself, gets the `mlflow.*` attributes that state its convention's facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.processors.attributes import find
from spanbridge.processors.genai.config import GenAiConfig
from spanbridge.processors.genai.convention import Convention, Event
from spanbridge.processors.genai.encoding import attribute
from spanbridge.processors.genai.mlflow_attributes import CONTENT, INPUTS, OUTPUTS
from spanbridge.processors.genai.recognition import Facts, Recognised, Recogniser, event_content
from spanbridge.processors.genai.values import is_empty, to_json
from spanbridge.processors.genai.view import SpanView
from spanbridge.processors.types import Batch, spans


class GenAi:
    """The processor of the head stage: normalizes a batch in place, span by span. Running it again changes nothing.

    A `mlflow.*` attribute that a span brings along is left alone unless its source says `overwrite`. Originals stay;
    the trace stage drops them where `remove_originals` says so, after it has read them too.

    Args:
        config: The processor's configuration.
    """

    def __init__(self, config: GenAiConfig) -> None:
        self._recogniser = Recogniser(config)
        self._custom = config.custom()

    def __call__(self, batch: Batch) -> Batch:
        """Normalize every span of the batch and return it."""
        for span in spans(batch):
            if self._custom:
                self._map(span)
            view, recognised = self._recogniser.recognise(span)
            if recognised.conventions:
                _write(view, recognised)
        return batch

    def _map(self, span: Span) -> None:
        """Copy values to the keys of custom mappings, on the span and on its events alike, as contrib does."""
        for attributes in (span.attributes, *(event.attributes for event in span.events)):
            for key, target, source in self._custom:
                value, existing = find(attributes, key), find(attributes, target)
                if value is not None and existing is None:
                    attributes.add(key=target).value.CopyFrom(value)
                elif value is not None and existing is not None and source.overwrite:
                    existing.CopyFrom(value)


def _write(view: SpanView, recognised: Recognised) -> None:
    added, encoded = _encoded(view, recognised.facts)
    view.span.MergeFromString(b"".join(encoded))
    if (INPUTS not in added or OUTPUTS not in added) and view.span.events:
        missing = [key for key in CONTENT if key not in added and key not in view]
        write_content(view, recognised.conventions, view.events(), missing)


def _encoded(view: SpanView, facts: Facts) -> tuple[list[str], list[bytes]]:
    """Return the attributes to add: their keys, and their bytes. Those that the span has already are set at once."""
    added: list[str] = []
    encoded: list[bytes] = []
    for key, read in facts:
        found = read(view)
        if found is None or is_empty(found):
            continue
        if key in view.attributes:
            set_text(view, key, found)
        else:
            added.append(key)
            encoded += attribute(key, found)
    return added, encoded


def write_content(
    view: SpanView, conventions: Sequence[Convention], events: Sequence[Event], missing: Sequence[str]
) -> None:
    """Set inputs and outputs from a span's events or log records.

    Args:
        view: The span.
        conventions: The conventions to read the events by, best first.
        events: The events, in order of time.
        missing: Which of CONTENT to set.
    """
    if not missing:
        return
    for key, found in zip(CONTENT, event_content(conventions, view, events), strict=True):
        if key in missing and not is_empty(found):
            set_text(view, key, found)


def set_text(view: SpanView, key: str, found: Any) -> None:
    """Set an attribute of the span: a text as it is, anything else as JSON."""
    view.set(key, found if isinstance(found, str) else to_json(found))
