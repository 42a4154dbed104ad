"""Tags, name and metadata of a trace, from what its spans state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spanbridge.processors.attributes import to_python
from spanbridge.processors.genai.convention import Convention, readers
from spanbridge.processors.genai.conventions.langfuse import RESOURCE_TAGS
from spanbridge.processors.genai.mlflow_attributes import CLIENT_REQUEST_ID, METADATA_KEYS, METADATA_PREFIX, STATED_NAME
from spanbridge.processors.genai.recognition import Recognised, stated
from spanbridge.processors.genai.values import as_text, is_empty
from spanbridge.processors.genai.view import SpanView
from spanbridge.processors.types import Trace

TRACE_NAME = "mlflow.traceName"
_MAX_CLIMB = 256
"""Levels looked up for a span that gave the tags already: a bound for traces nested without end, or in a circle."""

_IDENTITY_FIELDS = frozenset(
    {"session_id", "sessionId", "thread_id", "conversation_id", "chat_id", "user_id", "userId", "session.id", "user.id"}
)


def write_tags(
    trace: Trace, ordered: Sequence[tuple[SpanView, Recognised]], parents: Mapping[bytes, bytes], shown: Iterable[str]
) -> None:
    """Fill `trace.tags` with what conventions and the resource state; a tag that is there is never replaced.

    Args:
        trace: The trace.
        ordered: Its spans, the root first, and what they were recognised as.
        parents: The parent's span id by span id.
        shown: The session and the user of the trace, which need no tag besides.
    """
    covered: dict[str, set[bytes]] = {}
    identities = frozenset(shown)
    for view, recognised in ordered:
        for convention in recognised.tagging:
            if convention.tags is None or _is_below(convention, view, covered, parents):
                continue
            tags = convention.tags(view)
            if tags and convention.inherited_tags:
                covered.setdefault(convention.name, set()).add(view.span.span_id)
            for key, value in tags.items():
                _put(trace.tags, key, value, identities)
    for resource_spans in trace.batch.resource_spans:
        for attribute in resource_spans.resource.attributes[:]:  # a slice is read faster
            if attribute.key in RESOURCE_TAGS:
                _put(trace.tags, RESOURCE_TAGS[attribute.key], to_python(attribute.value), identities)


def _is_below(
    convention: Convention, view: SpanView, covered: Mapping[str, set[bytes]], parents: Mapping[bytes, bytes]
) -> bool:
    """Return whether a span above has given its tags already, so that this one only repeats them."""
    givers = covered.get(convention.name)
    if not givers:
        return False
    above = view.span.parent_span_id
    for _ in range(_MAX_CLIMB):
        if above in givers:
            return True
        if above not in parents:
            return False
        above = parents[above]
    return False


def _put(tags: dict[str, str], key: str, value: Any, identities: frozenset[str]) -> None:
    text = as_text(value)
    if key and not is_empty(value) and not (key in _IDENTITY_FIELDS and text in identities):
        tags.setdefault(key, text)


def write_name(trace: Trace, ordered: Sequence[tuple[SpanView, Recognised]], telling: Iterable[SpanView]) -> None:
    """Set the trace's name when a convention states one; without, the exporter takes the root's name.

    Args:
        trace: The trace.
        ordered: Its spans, the root first, and what they were recognised as.
        telling: The spans with keys that say something of the whole trace.
    """
    if TRACE_NAME in trace.tags or any(STATED_NAME in view for view in telling):
        return
    for view, recognised in ordered:
        for convention in recognised.naming:
            if found := stated(readers(convention.trace_name), view):
                trace.tags[TRACE_NAME] = found
                return


def write_metadata(trace: Trace, views: Iterable[SpanView]) -> None:
    """Set what OTLP cannot carry to MLflow otherwise: trace metadata, run, model and client request id."""
    for view in views:
        for rest, key in view.layout.under(METADATA_PREFIX):
            if (value := view.get(key)) is not None:
                trace.metadata.setdefault(rest, as_text(value))
        for key in view.layout.common(METADATA_KEYS):
            if name := view.name(key):
                trace.metadata.setdefault(key, name)
        if not trace.client_request_id:
            trace.client_request_id = view.name(CLIENT_REQUEST_ID) or ""
