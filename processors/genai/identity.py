"""Session and user of a trace, from whatever key a convention uses for them.

MLflow sees `session.id`, else `gen_ai.conversation.id`, and `user.id`, on span attributes alone, of the first span in
the batch that has one (SqlAlchemyStore._log_spans_once). What it would not find, or find wrong, is put on one span.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from spanbridge.processors.attributes import to_python
from spanbridge.processors.genai.values import as_name, as_object
from spanbridge.processors.genai.view import SpanView
from spanbridge.processors.types import Trace

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
IDENTITY_KEYS = frozenset({*SESSION_KEYS, *USER_KEYS, _METADATA})
"""Where a span, a resource or a log record may name a session or a user."""

_SEEN = {SESSION: (SESSION, _CONVERSATION), USER: (USER,)}


def name_session_and_user(
    trace: Trace, top: SpanView, views: Sequence[SpanView], ordered: Sequence[SpanView]
) -> dict[str, str]:
    """Make MLflow find session and user; returns what it will find, under SESSION and USER.

    `top` is the root, or the earliest span there is; `views` are the spans with one of IDENTITY_KEYS in the order of
    the batch, `ordered` the same with the root first and then by start.
    """
    named = _named(ordered)
    shown = {
        SESSION: _best(named, SESSION_KEYS, _SESSION_FIELDS),
        USER: _best(named, USER_KEYS, _USER_FIELDS),
    }
    if None in shown.values():
        beside = _beside_spans(trace)
        shown[SESSION] = shown[SESSION] or _best(beside, SESSION_KEYS, ())
        shown[USER] = shown[USER] or _best(beside, USER_KEYS, ())
    for key, value in shown.items():
        if value is not None and as_name(_first_seen(views, _SEEN[key])) != value:
            _place(trace, top, views, key, value)
    return {key: value for key, value in shown.items() if value is not None}


def _named(ordered: Iterable[SpanView]) -> dict[str, Any]:
    """The value of each key that matters here, of the first span that has it."""
    named: dict[str, Any] = {}
    for view in ordered:
        for key in view.layout.common(IDENTITY_KEYS):
            if key not in named and (value := view.get(key)) is not None:
                named[key] = value
    return named


def _best(named: Mapping[str, Any], keys: Sequence[str], fields: Sequence[str]) -> str | None:
    if not named:
        return None
    for key in keys:
        if key in named and (found := _identity(key, named[key])):
            return found
    metadata = as_object(named.get(_METADATA)) if fields else {}
    return next((found for field in fields if (found := _identity(field, metadata.get(field)))), None)


def _identity(key: str, value: Any) -> str | None:
    """A session or user: a name. `thread.id` is Codex's as a text, and an operating system's thread as a number."""
    if key == _CODEX_THREAD and not isinstance(value, str):
        return None
    name = as_name(value)
    return name[:_LONGEST].rstrip() if name else None


def _beside_spans(trace: Trace) -> dict[str, Any]:
    """What resources, and log records of the trace (Google ADK names the user only there), say under the same keys."""
    named: dict[str, Any] = {}
    for attributes in _attributes_beside_spans(trace):
        for attribute in attributes:
            if attribute.key in IDENTITY_KEYS:
                named.setdefault(attribute.key, to_python(attribute.value))
    return named


def _attributes_beside_spans(trace: Trace) -> Iterator[Sequence[KeyValue]]:
    for resource_spans in trace.batch.resource_spans:
        yield resource_spans.resource.attributes
    for resource_logs in trace.logs.resource_logs if trace.logs is not None else ():
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                yield record.attributes


def _first_seen(views: Sequence[SpanView], keys: Sequence[str]) -> Any:
    """What MLflow takes: the first key that a span has, even with an empty value, of the first span with one."""
    for view in views:
        for key in keys:
            if key in view.places:
                return view.get(key)
    return None


def _place(trace: Trace, top: SpanView, views: Sequence[SpanView], key: str, value: str) -> None:
    """Put it on the top span, before any other span that says something else."""
    top.set(key, value)
    if any(seen in view.places for view in views if view is not top for seen in _SEEN[key]):
        _move_to_front(trace, top.span.span_id)


def _move_to_front(trace: Trace, span_id: bytes) -> None:
    """Sorting is stable, so only the one span moves, and its scope and resource with it."""
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
