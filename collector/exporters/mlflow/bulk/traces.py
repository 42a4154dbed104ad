"""One trace -> its rows of every table that MLflow's `log_spans` writes for a trace new to the store."""

from __future__ import annotations

import time
import uuid
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities.entity_type import EntityAssociationType
from mlflow.store.tracking.utils.trace_analytics import (
    COST_COLUMN_BY_KEY,
    PROMOTED_TRACE_METADATA_KEYS,
    TOKEN_COLUMN_BY_KEY,
    analytics_columns_from_metadata,
    validate_session_id,
    validate_trace_name,
)
from mlflow.tracing.constant import GenAiSemconvKey, SpanAttributeKey, TraceMetadataKey, TraceTagKey
from mlflow.tracing.utils.truncation import _get_truncated_preview

from collector.exporters.mlflow.bulk.prices import Prices
from collector.exporters.mlflow.bulk.spans import Row, SpanFacts, TraceIds, span_facts
from collector.exporters.mlflow.bulk.tags import LocationTags, Resources, add_valid, root_tags
from collector.exporters.mlflow.bulk.totals import totals
from collector.exporters.mlflow.bulk.values import Unfit, plain
from processors.types import Trace

INFO_COLUMNS = (
    "request_id",
    "experiment_id",
    "timestamp_ms",
    "execution_time_ms",
    "status",
    "client_request_id",
    "request_preview",
    "response_preview",
    "db_payload_generation",
    "trace_name",
    "session_id",
    *TOKEN_COLUMN_BY_KEY.values(),
    *COST_COLUMN_BY_KEY.values(),
)
_TRACE_ID_BYTES = 16
_MS = 1_000_000
_FIRST_GENERATION = 1  # log_spans creates the row with 0 and counts its own write


@dataclass(frozen=True, slots=True)
class Place:
    """Where traces go: the experiment, the tags that say so, and the run to link traces to ("" for none)."""

    experiment_id: int
    location_tags: LocationTags
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class TraceRows:
    """The rows of one trace; `tags` and `metadata` are (trace id, key, value)."""

    id: str
    info: Row
    spans: Sequence[Row]
    tags: Sequence[Row]
    metadata: Sequence[Row]
    links: Sequence[Row] = field(default=())


class TraceDecoder:
    """Makes the rows of traces; remembers resources and prices between them."""

    def __init__(self) -> None:
        self._prices = Prices()
        self._resources = Resources()

    def __call__(self, trace: Trace, place: Place) -> TraceRows:
        """Decode one trace.

        Raises:
            Unfit: MLflow refuses the trace or takes it in a way unknown here.
        """
        ids = trace_ids(trace.trace_id)
        spans, resource_tags = self._decode(trace, ids, place.experiment_id)
        roots = [span for span in spans if span.parent is None]
        tags = place.location_tags(ids.mlflow) | resource_tags
        name = _add_own_tags(tags, trace, roots)
        info, metadata = _info_and_metadata(trace, spans, roots)
        info |= {"request_id": ids.mlflow, "experiment_id": place.experiment_id, "trace_name": name}
        return TraceRows(
            id=ids.mlflow,
            info=tuple(map(info.get, INFO_COLUMNS)),
            spans=[span.row for span in spans],
            tags=[(ids.mlflow, key, value) for key, value in tags.items()],
            metadata=[(ids.mlflow, key, value) for key, value in metadata.items()],
            links=[_link(ids.mlflow, place.run_id)] if place.run_id and roots else (),
        )

    def _decode(self, trace: Trace, ids: TraceIds, experiment_id: int) -> tuple[list[SpanFacts], dict[str, str]]:
        """The spans, the last of each id, and the tags of the first resource that says anything."""
        spans: dict[str, SpanFacts] = {}
        tags: dict[str, str] | None = None
        for resource_spans in trace.batch.resource_spans:
            resource = self._resources(resource_spans.resource)
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    facts = span_facts(span, ids, experiment_id, resource.service_name, self._prices)
                    spans[facts.id] = facts
                if tags is None and scope_spans.spans and not resource.empty:
                    tags = dict(resource.tags)
        if not spans:
            raise Unfit("a trace without spans")
        return list(spans.values()), tags or {}


def trace_ids(trace_id: bytes) -> TraceIds:
    """The forms MLflow gives a trace id."""
    if len(trace_id) != _TRACE_ID_BYTES:
        raise Unfit("a trace id is not of sixteen bytes")
    mlflow = f"tr-{trace_id.hex()}"
    return TraceIds(mlflow, f'"{mlflow}"', b64encode(trace_id).decode())


def _add_own_tags(tags: dict[str, str], trace: Trace, roots: Sequence[SpanFacts]) -> str | None:
    """Add the tags of the trace's roots, and those its processors gave it; return its name."""
    own: dict[str, str] = {}
    for root in roots:
        own |= root_tags(root.attributes)
    for key, value in trace.tags.items():
        add_valid(own, key, value)
    name: str | None = validate_trace_name(own.pop(TraceTagKey.TRACE_NAME, None))
    tags |= own
    return name


def _info_and_metadata(
    trace: Trace, spans: Sequence[SpanFacts], roots: Sequence[SpanFacts]
) -> tuple[dict[str, Any], dict[str, str]]:
    session, user = _session_and_user(spans)
    start = min(span.start for span in spans) // _MS
    info: dict[str, Any] = {
        "timestamp_ms": start,
        "execution_time_ms": max(span.end for span in spans) // _MS - start,
        "status": _status(roots),
        "client_request_id": trace.client_request_id or None,
        "db_payload_generation": _FIRST_GENERATION,
        "session_id": session or None,
        **_previews(roots[-1].attributes if roots else {}),
        **totals(spans),
        **analytics_columns_from_metadata(trace.metadata),
    }
    metadata = {TraceMetadataKey.TRACE_USER: user} if user else {}
    metadata |= {key: value for key, value in trace.metadata.items() if key not in PROMOTED_TRACE_METADATA_KEYS}
    return info, metadata


def _status(roots: Sequence[SpanFacts]) -> str:
    if not roots:
        return "IN_PROGRESS"
    return "ERROR" if roots[0].status == "ERROR" else "OK"


def _session_and_user(spans: Sequence[SpanFacts]) -> tuple[str | None, str | None]:
    """Of the first span that has one; an empty session id counts as one, as in MLflow."""
    session = user = None
    for span in spans:
        attributes = span.attributes
        if session is None and (
            text := attributes.get(SpanAttributeKey.SESSION_ID) or attributes.get(GenAiSemconvKey.CONVERSATION_ID)
        ):
            session = validate_session_id(plain(text))
        if user is None and (text := attributes.get(SpanAttributeKey.USER_ID)):
            user = plain(text)
    return session, user


def _previews(root: dict[str, str]) -> dict[str, str | None]:
    """What the last root says of request and response; as in MLflow, text it can't read leaves the rest out."""
    previews: dict[str, str | None] = {}
    try:
        if text := root.get(SpanAttributeKey.INPUTS):
            previews["request_preview"] = _get_truncated_preview(text, role="user")
        if text := root.get(SpanAttributeKey.OUTPUTS):
            previews["response_preview"] = _get_truncated_preview(text, role="assistant")
    except Exception:  # noqa: BLE001  SqlAlchemyStore._update_trace_info_attributes does the same
        return previews
    if not all(isinstance(preview, str) for preview in previews.values()):
        raise Unfit("a message's text is not text")
    return previews


def _link(trace_id: str, run_id: str) -> Row:
    """A row of `entity_associations`, as `SqlAlchemyStore.link_traces_to_run` makes it."""
    source, destination = EntityAssociationType.TRACE, EntityAssociationType.RUN
    return (uuid.uuid4().hex, source, trace_id, destination, run_id, time.time_ns() // _MS)
