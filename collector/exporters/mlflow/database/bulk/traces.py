"""One trace -> its rows of every table that MLflow's `log_spans` writes for a trace new to the store."""

from __future__ import annotations

import time
import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

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

from spanbridge.collector.exporters.mlflow.database.bulk.prices import Prices
from spanbridge.collector.exporters.mlflow.database.bulk.spans import Row, Source, SpanFacts, TraceIds, span_facts
from spanbridge.collector.exporters.mlflow.database.bulk.tags import KNOWN_SERVICES, LocationTags, add_valid, root_tags
from spanbridge.collector.exporters.mlflow.database.bulk.totals import totals
from spanbridge.collector.exporters.mlflow.database.bulk.values import Unfit, plain
from spanbridge.collector.exporters.mlflow.record.record import TraceRecord

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
_IN_PROGRESS = "IN_PROGRESS"
_FIRST_GENERATION = 1  # log_spans creates the row with 0 and counts its own write


@dataclass(frozen=True, slots=True)
class NewTrace:
    """A trace to write, cleaned of what MLflow refuses.

    `tags`, `metadata` and `client_request_id` are what it shall carry besides what the spans say. `state` is that of a
    trace without a root, which MLflow would leave in progress for ever.
    """

    trace_id: bytes
    spans: Sequence[Source]
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    client_request_id: str = ""
    state: Literal["IN_PROGRESS", "OK", "ERROR"] = "IN_PROGRESS"

    @property
    def mlflow_id(self) -> str:
        """MLflow's trace id."""
        return "tr-" + self.trace_id.hex()

    @classmethod
    def of(cls, record: TraceRecord) -> NewTrace:
        """Make a trace of a record.

        A late part without a root does not end its trace, nor name it: the part with the root has done so, or will.
        """
        ends = record.has_root or not record.late
        (head, its_attributes), *others = record.attributes()
        service = record.tags.get("service.name", "")
        return cls(
            record.trace_id,
            [
                Source(head, its_attributes, service if service in KNOWN_SERVICES else ""),
                *(Source(span, attributes) for span, attributes in others),
            ],
            {**record.tags, TraceTagKey.TRACE_NAME: record.name} if ends and record.name else record.tags,
            record.metadata,
            record.client_request_id,
            record.state if ends else "IN_PROGRESS",
        )


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
    experiment_id: int
    info: Row
    spans: Sequence[Row]
    tags: Sequence[Row]
    metadata: Sequence[Row]
    links: Sequence[Row] = field(default=())


class TraceDecoder:
    """The way from traces to their rows; remembers prices between them."""

    def __init__(self) -> None:
        self._prices = Prices()

    def __call__(self, trace: NewTrace, place: Place) -> TraceRows:
        """Make the rows of one trace.

        Raises:
            Unfit: MLflow refuses the trace or takes it in a way unknown here.
        """
        ids = trace_ids(trace.trace_id)
        decoded = [span_facts(source, ids, place.experiment_id, self._prices) for source in trace.spans]
        spans = list({span.id: span for span in decoded}.values())
        if not spans:
            raise Unfit("a trace without spans")
        roots = [span for span in spans if span.parent is None]
        tags = place.location_tags(ids.mlflow)
        name = _add_own_tags(tags, trace, roots)
        info, metadata = _info_and_metadata(trace, spans, roots)
        info |= {"request_id": ids.mlflow, "experiment_id": place.experiment_id, "trace_name": name}
        return TraceRows(
            id=ids.mlflow,
            experiment_id=place.experiment_id,
            info=tuple(map(info.get, INFO_COLUMNS)),
            spans=[span.row for span in spans],
            tags=[(ids.mlflow, key, value) for key, value in tags.items()],
            metadata=[(ids.mlflow, key, value) for key, value in metadata.items()],
            links=[_link(ids.mlflow, place.run_id)] if place.run_id and info["status"] != _IN_PROGRESS else (),
        )


def trace_ids(trace_id: bytes) -> TraceIds:
    """Return the forms MLflow gives a trace id.

    Raises:
        Unfit: It is not of sixteen bytes.
    """
    if len(trace_id) != _TRACE_ID_BYTES:
        raise Unfit("a trace id is not of sixteen bytes")
    mlflow = f"tr-{trace_id.hex()}"
    return TraceIds(mlflow, f'"{mlflow}"', b64encode(trace_id).decode())


def _add_own_tags(tags: dict[str, str], trace: NewTrace, roots: Sequence[SpanFacts]) -> str | None:
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
    trace: NewTrace, spans: Sequence[SpanFacts], roots: Sequence[SpanFacts]
) -> tuple[dict[str, Any], dict[str, str]]:
    session, user = _session_and_user(spans)
    start = min(span.start for span in spans) // _MS
    info: dict[str, Any] = {
        "timestamp_ms": start,
        "execution_time_ms": max(span.end for span in spans) // _MS - start,
        "status": _status(roots) or trace.state,
        "client_request_id": trace.client_request_id or None,
        "db_payload_generation": _FIRST_GENERATION,
        "session_id": session or None,
        **_previews(roots[-1].attributes if roots else {}),
        **totals(spans),
        **analytics_columns_from_metadata(dict(trace.metadata)),
    }
    metadata = {TraceMetadataKey.TRACE_USER: user} if user else {}
    metadata |= {key: value for key, value in trace.metadata.items() if key not in PROMOTED_TRACE_METADATA_KEYS}
    return info, metadata


def _status(roots: Sequence[SpanFacts]) -> str | None:
    if not roots:
        return None
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
