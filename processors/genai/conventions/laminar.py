"""Laminar: `lmnr.span.*` beside OTel semconv.

Source: docs.lmnr.ai (otel), lmnr-python.
"""

from __future__ import annotations

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.convention import Convention, any_under, chat_input, chat_output, lookup
from spanbridge.processors.genai.view import SpanView

_TYPES = {
    "llm": types.LLM,
    "cached": types.LLM,
    "tool": types.TOOL,
    "default": types.CHAIN,
    "pipeline": types.CHAIN,
    "executor": types.AGENT,
    "evaluator": types.EVALUATOR,
    "human_evaluator": types.EVALUATOR,
    "evaluation": types.EVALUATOR,
}


def _tags(view: SpanView) -> dict[str, object]:
    tags: dict[str, object] = view.under("lmnr.association.properties.metadata.")
    listed = view.get("lmnr.association.properties.tags")
    return tags if listed is None else {**tags, "tags": listed}


CONVENTION = Convention(
    name="laminar",
    namespaces=frozenset({"lmnr"}),
    recognise=any_under("lmnr."),
    span_type=lookup("lmnr.span.type", _TYPES),
    inputs=chat_input("lmnr.span.input"),
    outputs=chat_output("lmnr.span.output"),
    tags=_tags,
    originals=("lmnr.span.type", "lmnr.span.input", "lmnr.span.output"),
)
