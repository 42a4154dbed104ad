"""Claude Code: spans named `claude_code.*` with keys of their own and token counts without a prefix.

Source: code.claude.com/docs/en/monitoring-usage (traces, beta). Content is `<REDACTED>` unless the user opts in, and
that reads as absent. Claude counts cached tokens apart from the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.convention import Content, Convention, Event, any_of, name
from spanbridge.processors.genai.usage import CostKeys, Usage, UsageKeys
from spanbridge.processors.genai.values import first
from spanbridge.processors.genai.view import SpanView

_PREFIX = "claude_code."
_TYPES = {
    "interaction": types.AGENT,
    "llm_request": types.LLM,
    "tool": types.TOOL,
    "tool.execution": types.TASK,
    "tool.blocked_on_user": types.TASK,
    "hook": types.TASK,
}
_OWN_WORDS = frozenset({"interaction", "llm_request", "tool.execution", "tool.blocked_on_user"})
_TOOL_DETAILS = ("full_command", "file_path", "skill_name", "subagent_type")
_TOOL_OUTPUT = ("output", "content", "diff")
_USAGE = UsageKeys(
    input=("input_tokens",),
    output=("output_tokens",),
    cache_read=("cache_read_tokens",),
    cache_creation=("cache_creation_tokens",),
    cache_apart=True,
)


def _kind(view: SpanView) -> str:
    """Return the span's type without the prefix; some versions write it bare and prefix only the name."""
    said = view.name("span.type") or ""
    return said.removeprefix(_PREFIX)


def _is_claude(view: SpanView) -> bool:
    said = view.name("span.type")
    if said is None:
        return False
    return said.startswith(_PREFIX) or said in _OWN_WORDS or view.span.name.startswith(_PREFIX)


def _inputs(view: SpanView) -> Any:
    kind = _kind(view)
    if kind == "interaction":
        return view.first("user_prompt", "new_context")
    if kind == "llm_request":
        return view.get("new_context")
    if kind == "tool":
        details = {key: value for key in _TOOL_DETAILS if (value := view.get(key)) is not None}
        return view.get("tool_input") or details or None
    return None


def _outputs(view: SpanView) -> Any:
    kind = _kind(view)
    if kind == "llm_request":
        return view.get("response.model_output")
    return view.get("new_context") if kind == "tool" else None


def _events(view: SpanView, events: Sequence[Event]) -> Content:
    if _kind(view) != "tool":
        return None, None
    said = (first(fields, _TOOL_OUTPUT) for name, fields in events if name == "tool.output")
    return None, next((value for value in said if value is not None), None)


def _usage(view: SpanView) -> Usage | None:
    return _USAGE(view) if _kind(view) == "llm_request" else None


CONVENTION = Convention(
    name="claude_code",
    namespaces=frozenset({"span"}),
    recognise=any_of("span.type"),
    only_if=_is_claude,
    span_type=lambda view: _TYPES.get(_kind(view)),
    inputs=_inputs,
    outputs=_outputs,
    events=_events,
    model=name("gen_ai.response.model", "gen_ai.request.model", "model"),
    usage=_usage,
    cost=CostKeys(total=("cost_usd",)),
    originals=("span.type", "user_prompt", "new_context", "response.model_output", "tool_input"),
)
