"""Strands Agents: OTel semconv with content in span events, read in otel.py; its own are cycles and free attributes.

Source: spans of strands-agents 1.62.0, default and gen_ai_latest_experimental. `trace_attributes` of the agent stand on
every span under the names that the application gave them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.answers import choices
from spanbridge.processors.genai.convention import Content, Convention, Event, any_of
from spanbridge.processors.genai.values import is_empty, objects
from spanbridge.processors.genai.view import SpanView

_FRAMEWORK = "strands-agents"
_CYCLE = "execute_event_loop_cycle"


def _is_strands(view: SpanView) -> bool:
    return _FRAMEWORK in (view.get("gen_ai.system"), view.get("gen_ai.provider.name"))


def _span_type(view: SpanView) -> str | None:
    return types.CHAIN if "event_loop.cycle_id" in view else None


def _events(view: SpanView, events: Sequence[Event]) -> Content:
    """Return the results of a cycle's tools; it states them as further input, in an event after its own."""
    if view.get("gen_ai.operation.name") != _CYCLE:
        return None, None
    told = [fields["gen_ai.input.messages"] for _, fields in events if "gen_ai.input.messages" in fields]
    return None, (choices(objects(told[-1])) if len(told) > 1 else None)


def _tags(view: SpanView) -> dict[str, Any]:
    found = view.get("tags")
    return {} if is_empty(found) else {"tags": found}


CONVENTION = Convention(
    name="strands",
    namespaces=frozenset({"gen_ai"}),
    recognise=any_of("gen_ai.event.start_time", "event_loop.cycle_id", "gen_ai.agent.tools"),
    only_if=_is_strands,
    span_type=_span_type,
    events=_events,
    tags=_tags,
)
