"""OpenAI Codex CLI: spans of Rust's `tracing`; the tokens of a turn stand on `session_task.turn`.

Source: codex-rs (otel crate, core/src/tasks). Facts of a turn are span events `codex.*`; the same names come as log
records with an exporter for logs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.convention import Content, Convention, Event, any_under, name
from spanbridge.processors.genai.usage import UsageKeys
from spanbridge.processors.genai.values import first
from spanbridge.processors.genai.view import SpanView

_TYPES = {
    "session_loop": types.CHAIN,
    "session_task.turn": types.AGENT,
    "session_task.run": types.CHAIN,
    "run_turn": types.CHAIN,
    "handle_responses": types.CHAIN,
    "handle_tool_call": types.TOOL,
    "dispatch_tool_call": types.TOOL,
    "mcp.tools.call": types.TOOL,
}


def _span_type(view: SpanView) -> str | None:
    known = _TYPES.get(view.span.name)
    return known or (types.AGENT if "codex.turn.token_usage.total_tokens" in view else None)


def _events(_: SpanView, events: Sequence[Event]) -> Content:
    inputs: Any = None
    outputs: Any = None
    for event, fields in events:
        if event == "codex.user_prompt" and inputs is None and isinstance(prompt := fields.get("prompt"), str):
            inputs = {"messages": [{"role": "user", "content": prompt}]}
        elif event == "codex.tool_result":
            asked = {key: fields[key] for key in ("tool_name", "arguments") if key in fields}
            inputs = inputs if inputs is not None else asked or None
            outputs = first(fields, ("output", "result"))
    return inputs, outputs


CONVENTION = Convention(
    name="codex",
    namespaces=frozenset({"codex", "turn", "thread", "conversation"}),
    recognise=any_under("codex.", "turn.id", "thread.id", "conversation.id"),
    only_if=lambda view: view.span.name in _TYPES or bool(view.layout.under("codex.")),
    span_type=_span_type,
    events=_events,
    model=name("model", "slug", "gen_ai.request.model"),
    usage=UsageKeys(
        input=("codex.turn.token_usage.input_tokens",),
        output=("codex.turn.token_usage.output_tokens",),
        total=("codex.turn.token_usage.total_tokens",),
        cache_read=("codex.turn.token_usage.cached_input_tokens",),
        reasoning=("codex.turn.token_usage.reasoning_output_tokens",),
    ),
    originals=("codex.turn.token_usage.",),
)
