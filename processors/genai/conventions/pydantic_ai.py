"""PydanticAI and Logfire: OTel semconv on model calls; agent runs and tools of older versions have keys of their own.

Source: spans of pydantic-ai-slim 2.68.0, instrumentation versions 2 to 6; version 1 (`events`, `all_messages_events`)
and Logfire's own instrumentations (`request_data`, `response_data`) from their documentation.
"""

from __future__ import annotations

from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.answers import answer, choices
from spanbridge.processors.genai.content.messages import Message, chat_messages, system_messages
from spanbridge.processors.genai.content.tools import chat_tools
from spanbridge.processors.genai.convention import Content, Convention, name, shown_input, shown_output
from spanbridge.processors.genai.events import semconv_events
from spanbridge.processors.genai.usage import CostKeys, Usage, UsageKeys, usage_object
from spanbridge.processors.genai.values import as_object, decoded, is_empty, objects
from spanbridge.processors.genai.view import Layout, SpanView

_OWN_KEYS = (
    "pydantic_ai.all_messages",
    "all_messages_events",
    "final_result",
    "tool_arguments",
    "tool_response",
    "model_request_parameters",
    "agent_name",
    "events",
    "request_data",
    "response_data",
    "operation.cost",
    "logfire.msg",
)
_COMPANY = ("logfire.", "gen_ai.", "pydantic_ai.")
_ROLLUP = UsageKeys(
    input=("gen_ai.aggregated_usage.input_tokens",),
    output=("gen_ai.aggregated_usage.output_tokens",),
    cache_read=("gen_ai.aggregated_usage.cache_read.input_tokens",),
    cache_creation=(
        "gen_ai.aggregated_usage.cache_write.input_tokens",
        "gen_ai.aggregated_usage.cache_creation.input_tokens",
    ),
    reasoning=("gen_ai.aggregated_usage.details.reasoning_tokens",),
)


def _recognise(layout: Layout) -> bool:
    """Return whether there is one of its keys and one of a namespace: alone, `events` is anybody's."""
    keys = layout.keys
    return any(key in keys for key in _OWN_KEYS) and any(key.startswith(_COMPANY) for key in keys)


def _span_type(view: SpanView) -> str | None:
    """Return the type of spans of old versions, which state no operation."""
    if "gen_ai.operation.name" in view:
        return None
    if "tool_arguments" in view or "tool_response" in view:
        return types.TOOL
    if "request_data" in view and "gen_ai.request.model" in view:
        return types.CHAT_MODEL
    return types.AGENT if "agent_name" in view and "model_name" in view else None


def _run(view: SpanView) -> list[Message]:
    """Return the messages of an agent's run, and of the runs before it that it was given."""
    listed = view.get("pydantic_ai.all_messages")
    if listed is not None:
        return [*system_messages(view.get("gen_ai.system_instructions")), *chat_messages(listed)]
    inputs, outputs = _old_events(view, "all_messages_events")
    answered = as_object(outputs).get("choices") or []
    return [*as_object(inputs).get("messages", []), *(choice["message"] for choice in answered)]


def _old_events(view: SpanView, key: str) -> Content:
    if key not in view:
        return None, None
    stated = [(str(event.get("event.name") or _event_name(event)), event) for event in objects(view.get(key))]
    return semconv_events(view, stated)


def _event_name(event: dict[str, Any]) -> str:
    return f"gen_ai.{event.get('role', 'user')}.message"


def _inputs(view: SpanView) -> Any:
    arguments = view.get("tool_arguments")
    if arguments is not None:
        return arguments
    messages = _run(view)
    asked = max((index for index, message in enumerate(messages) if message["role"] == "user"), default=-1)
    if asked >= 0:
        return {"messages": messages[: asked + 1]}
    inputs, _ = _old_events(view, "events")
    return inputs or shown_input(view.get("request_data"))


def _outputs(view: SpanView) -> Any:
    said = view.first("tool_response", "final_result")
    if said is not None:
        return answer(said) if "final_result" in view and decoded(said) is said and isinstance(said, str) else said
    messages = _run(view)
    if messages and messages[-1]["role"] == "assistant":
        return choices(messages[-1:])
    _, outputs = _old_events(view, "events")
    return outputs or shown_output(view.get("response_data"))


def _usage(view: SpanView) -> Usage | None:
    return _ROLLUP(view) or usage_object(as_object(view.get("response_data")).get("usage"))


def _tools(view: SpanView) -> Any:
    if "gen_ai.tool.definitions" in view:
        return None
    stated = as_object(view.get("model_request_parameters")).get("function_tools")
    stated = stated or as_object(view.get("request_data")).get("tools")
    return None if is_empty(stated) else chat_tools(stated)


CONVENTION = Convention(
    name="pydantic_ai",
    namespaces=frozenset(key.partition(".")[0] for key in _OWN_KEYS),
    recognise=_recognise,
    span_type=_span_type,
    inputs=_inputs,
    outputs=_outputs,
    model=name("gen_ai.response.model", "gen_ai.request.model", "model_name"),
    usage=_usage,
    cost=CostKeys(total=("operation.cost",)),
    tools=_tools,
    originals=(
        "pydantic_ai.all_messages",
        "all_messages_events",
        "final_result",
        "tool_arguments",
        "tool_response",
        "model_request_parameters",
        "gen_ai.aggregated_usage.",
        "operation.cost",
    ),
)
