"""Strands Agents: OTel semconv with content in span events, read in otel.py; its own are cycles and free attributes.

Source: spans of strands-agents 1.62.0, default and gen_ai_latest_experimental. `trace_attributes` of the agent stand on
every span under the names that the application gave them.
"""

from __future__ import annotations

from typing import Any

from processors.genai import span_types as types
from processors.genai.convention import Convention
from processors.genai.values import is_empty
from processors.genai.view import SpanView

_FRAMEWORK = "strands-agents"


def _recognise(view: SpanView) -> bool:
    return _FRAMEWORK in (view.get("gen_ai.system"), view.get("gen_ai.provider.name"))


def _span_type(view: SpanView) -> str | None:
    return types.CHAIN if "event_loop.cycle_id" in view.raw else None


def _tags(view: SpanView) -> dict[str, Any]:
    found = view.get("tags")
    return {} if is_empty(found) else {"tags": found}


CONVENTION = Convention(
    name="strands",
    namespaces=frozenset({"gen_ai"}),
    recognise=_recognise,
    span_type=_span_type,
    tags=_tags,
)
