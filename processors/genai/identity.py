"""Session and user of a trace, from whatever key a convention uses for them.

MLflow sees `session.id`, else `gen_ai.conversation.id`, and `user.id`, on span attributes alone, of the first span in
the batch that has one (SqlAlchemyStore._log_spans_once). What it would not find, or find wrong, is put on one span.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from processors.attributes import find, to_python
from processors.genai.values import as_name, as_object
from processors.genai.view import SpanView
from processors.types import Trace

SESSION, USER = "session.id", "user.id"
_CONVERSATION = "gen_ai.conversation.id"
_METADATA = "metadata"
_CODEX_THREAD = "thread.id"
_LONGEST = 250
"""MLflow refuses a whole request for a longer session id (validate_session_id)."""

SESSION_KEYS = (
    "mlflow.trace.session",
    SESSION,
    "langfuse.session.id",
    _CONVERSATION,
    "ai.telemetry.metadata.sessionId",
    "ai.telemetry.metadata.session_id",
    "langsmith.metadata.session_id",
    "langsmith.metadata.thread_id",
    "langsmith.metadata.conversation_id",
    "traceloop.association.properties.session_id",
    "traceloop.association.properties.sessionId",
    "traceloop.association.properties.thread_id",
    "traceloop.association.properties.conversation_id",
    "traceloop.association.properties.chat_id",
    "lmnr.association.properties.session_id",
    "spring.ai.chat.client.conversation.id",
    "gcp.vertex.agent.session_id",
    "voltagent.conversation_id",
    "conversation.id",
    _CODEX_THREAD,
)
USER_KEYS = (
    "mlflow.trace.user",
    USER,
    "langfuse.user.id",
    "enduser.id",
    "ai.telemetry.metadata.userId",
    "ai.telemetry.metadata.user_id",
    "langsmith.metadata.user_id",
    "traceloop.association.properties.user_id",
    "traceloop.association.properties.userId",
    "lmnr.association.properties.user_id",
    "voltagent.user_id",
    "gen_ai.user",
    "gen_ai.request.user",
    "llm.user",
    "enduser.pseudo.id",
    "user.email",
)
_SESSION_FIELDS = ("session_id", "sessionId", "thread_id", "conversation_id")
_USER_FIELDS = ("user_id", "userId")
_ALL_KEYS = frozenset({*SESSION_KEYS, *USER_KEYS, _METADATA})


def name_session_and_user(trace: Trace, views: Sequence[SpanView], ordered: Sequence[SpanView]) -> dict[str, str]:
    """Make MLflow find session and user; returns what it will find, under SESSION and USER.

    `views` are all spans in the order of the batch, `ordered` the root first and then by start.
    """
    named = _named(ordered)
    shown = {
        SESSION: _best(named, SESSION_KEYS, _SESSION_FIELDS) or _from_resources(trace, SESSION_KEYS),
        USER: _best(named, USER_KEYS, _USER_FIELDS) or _from_resources(trace, USER_KEYS),
    }
    seen = {SESSION: _first_seen(views, (SESSION, _CONVERSATION)), USER: _first_seen(views, (USER,))}
    for key, value in shown.items():
        if value is not None and seen[key] != value:
            _place(trace, ordered, key, value)
    return {key: value for key, value in shown.items() if value is not None}


def _named(ordered: Iterable[SpanView]) -> dict[str, Any]:
    """The value of each key that matters here, of the first span that has it."""
    named: dict[str, Any] = {}
    for view in ordered:
        for key in view.raw.keys() & _ALL_KEYS:
            if key not in named and (value := view.get(key)) is not None:
                named[key] = value
    return named


def _best(named: Mapping[str, Any], keys: Sequence[str], fields: Sequence[str]) -> str | None:
    for key in keys:
        if key in named and (found := _identity(key, named[key])):
            return found
    metadata = as_object(named.get(_METADATA))
    return next((found for field in fields if (found := _identity(field, metadata.get(field)))), None)


def _identity(key: str, value: Any) -> str | None:
    """A session or user: a name. `thread.id` is Codex's as a text, and an operating system's thread as a number."""
    if key == _CODEX_THREAD and not isinstance(value, str):
        return None
    name = as_name(value)
    return name[:_LONGEST] if name else None


def _from_resources(trace: Trace, keys: Sequence[str]) -> str | None:
    for resource_spans in trace.batch.resource_spans:
        for key in keys:
            value = find(resource_spans.resource.attributes, key)
            if value is not None and (found := _identity(key, to_python(value))):
                return found
    return None


def _first_seen(views: Sequence[SpanView], keys: Sequence[str]) -> Any:
    """What MLflow takes: the first key that a span has, even with an empty value, of the first span with one."""
    for view in views:
        for key in keys:
            if key in view.raw:
                return view.get(key)
    return None


def _place(trace: Trace, ordered: Sequence[SpanView], key: str, value: str) -> None:
    """Put it on the root (or the earliest span there is), and that span where MLflow looks first."""
    for view in ordered:
        if key in view.raw and view.get(key) is None:
            view.raw[key].string_value = value
    view = ordered[0]
    if key in view.raw:
        view.raw[key].Clear()
        view.raw[key].string_value = value
    else:
        attribute = view.span.attributes.add(key=key)
        attribute.value.string_value = value
        view.raw[key] = attribute.value
    _move_to_front(trace, view.span.span_id)


def _move_to_front(trace: Trace, span_id: bytes) -> None:
    """Sorting is stable, so only the one span moves."""
    for resource_spans in trace.batch.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            scope_spans.spans.sort(key=lambda span: span.span_id != span_id)
        resource_spans.scope_spans.sort(key=lambda scope: not scope.spans or scope.spans[0].span_id != span_id)
    trace.batch.resource_spans.sort(
        key=lambda resource: (
            not resource.scope_spans
            or not resource.scope_spans[0].spans
            or resource.scope_spans[0].spans[0].span_id != span_id
        )
    )
