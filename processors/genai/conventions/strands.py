"""Strands Agents: OTel semconv with content in span events, read in otel.py; its own are cycles and free attributes.

Source: spans of strands-agents 1.62.0, default and gen_ai_latest_experimental. `trace_attributes` of the agent stand on
every span under the names that the application gave them.
"""

from __future__ import annotations

from typing import Any

from processors.genai import span_types as types
from processors.genai.convention import Convention, any_of, given
from processors.genai.values import is_empty
from processors.genai.view import SpanView

_FRAMEWORK = "strands-agents"


def _is_strands(view: SpanView) -> bool:
    return _FRAMEWORK in (view.get("gen_ai.system"), view.get("gen_ai.provider.name"))


def _tags(view: SpanView) -> dict[str, Any]:
    found = view.get("tags")
    return {} if is_empty(found) else {"tags": found}


CONVENTION = Convention(
    name="strands",
    namespaces=frozenset({"gen_ai"}),
    recognise=any_of("gen_ai.event.start_time", "event_loop.cycle_id", "gen_ai.agent.tools"),
    only_if=_is_strands,
    span_type=given(lambda _: types.CHAIN, "event_loop.cycle_id"),
    tags=_tags,
)
