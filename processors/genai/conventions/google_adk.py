"""Google ADK: semconv keys, and requests and responses as Gemini's JSON under `gcp.vertex.agent.*`.

Source: google-adk 2.13.0, google/adk/telemetry/tracing.py. With content switched off the values are `{}`.
"""

from __future__ import annotations

from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.tools import chat_tools
from spanbridge.processors.genai.convention import Convention, any_under, name, shown_input, shown_output
from spanbridge.processors.genai.conventions.otel import USAGE
from spanbridge.processors.genai.usage import Usage, usage_object
from spanbridge.processors.genai.values import as_object, is_empty
from spanbridge.processors.genai.view import SpanView

_PREFIX = "gcp.vertex.agent."
_PLACEHOLDER = "N/A"


def _found(view: SpanView, key: str) -> Any:
    value = view.get(_PREFIX + key)
    return None if value == _PLACEHOLDER else value


def _span_type(view: SpanView) -> str | None:
    if "gen_ai.operation.name" in view:
        return None
    if _PREFIX + "llm_request" in view and "gen_ai.request.model" in view:
        return types.LLM
    return types.TOOL if _PREFIX + "tool_call_args" in view else types.CHAIN


def _inputs(view: SpanView) -> Any:
    asked = _found(view, "llm_request")
    return shown_input(asked) if asked is not None else _found(view, "tool_call_args") or _found(view, "data")


def _outputs(view: SpanView) -> Any:
    said = _found(view, "tool_response")
    return said if said is not None else shown_output(_found(view, "llm_response"))


def _usage(view: SpanView) -> Usage | None:
    stated = USAGE(view)
    return stated or usage_object(as_object(_found(view, "llm_response")).get("usage_metadata"))


def _tools(view: SpanView) -> Any:
    config = as_object(as_object(_found(view, "llm_request")).get("config"))
    return None if is_empty(config.get("tools")) else chat_tools(config["tools"])


CONVENTION = Convention(
    name="google_adk",
    namespaces=frozenset({"gcp"}),
    recognise=any_under(_PREFIX),
    span_type=_span_type,
    inputs=_inputs,
    outputs=_outputs,
    model=name("gen_ai.response.model", "gen_ai.request.model"),
    usage=_usage,
    tools=_tools,
    originals=(
        _PREFIX + "llm_request",
        _PREFIX + "llm_response",
        _PREFIX + "tool_call_args",
        _PREFIX + "tool_response",
        _PREFIX + "data",
    ),
)
