"""A record as one of MLflow's own traces, for destinations that don't make one of the spans themselves.

What MLflow's tracking store does with spans (store/tracking/sqlalchemy_store.py `_log_spans_once`) is done here:
attributes of other conventions translated, usage and cost added up, previews cut. Imports mlflow, so import it late.
"""

from __future__ import annotations

import json
from typing import Any

from mlflow.entities import Span, Trace, TraceData, TraceInfo, TraceLocation, TraceState
from mlflow.tracing.constant import TRACE_SCHEMA_VERSION_KEY, TraceMetadataKey
from mlflow.tracing.otel.translation import translate_span_when_storing
from mlflow.tracing.utils import (
    add_size_stats_to_trace_metadata,
    aggregate_cost_from_spans,
    aggregate_usage_from_spans,
)
from mlflow.tracing.utils.truncation import set_request_response_preview

from spanbridge.collector.exporters.mlflow.record.record import TraceRecord
from spanbridge.collector.exporters.mlflow.record.tags import TRACE_NAME

_SESSION_KEYS = ("session.id", "gen_ai.conversation.id")
_USER_KEYS = ("user.id",)


def mlflow_trace(
    record: TraceRecord, location: TraceLocation, *, unity_catalog: str = "", earlier: Trace | None = None
) -> Trace:
    """Make MLflow's trace of a record.

    Args:
        record: The trace, or a part of it.
        location: Where it goes.
        unity_catalog: The `catalog.schema` it goes to; "" for an experiment.
        earlier: What MLflow has of the trace, whose spans are kept. Its info is too, if the record is a part without
            the root: what that says of the trace is a guess, and must not replace what the root said.
    """
    new = [_span(span, unity_catalog) for span in record.spans]
    spans = list({span.span_id: span for span in [*(earlier.data.spans if earlier else ()), *new]}.values())
    info = _info(record, new[0].trace_id, location) if record.has_root or earlier is None else earlier.info
    if earlier is not None:
        info.tags = {**earlier.info.tags, **record.tags, **({TRACE_NAME: record.name} if record.has_root else {})}
    start = min(span.start_time_ns for span in spans) // 1_000_000
    info.request_time = start
    info.execution_duration = max(span.end_time_ns or 0 for span in spans) // 1_000_000 - start
    info.trace_metadata.update(_aggregates(spans), **record.metadata)
    info.trace_metadata[TRACE_SCHEMA_VERSION_KEY] = "4" if unity_catalog else "3"
    trace = Trace(info, TraceData(spans))
    set_request_response_preview(info, trace.data)
    add_size_stats_to_trace_metadata(trace)
    return trace


def _span(span: Any, unity_catalog: str) -> Span:
    found = Span.from_otel_proto(span, location_id=unity_catalog or None)
    return Span.from_dict(translate_span_when_storing(found))


def _info(record: TraceRecord, trace_id: str, location: TraceLocation) -> TraceInfo:
    return TraceInfo(
        trace_id=trace_id,
        trace_location=location,
        request_time=record.start_ms,
        state=TraceState(record.state),
        client_request_id=record.client_request_id or None,
        tags={TRACE_NAME: record.name, **record.tags},
    )


def _aggregates(spans: Any) -> dict[str, str]:
    """The metadata that MLflow's store derives from spans."""
    found = {
        TraceMetadataKey.TOKEN_USAGE: aggregate_usage_from_spans(spans),
        TraceMetadataKey.COST: aggregate_cost_from_spans(spans),
    }
    written = {key: json.dumps(value) for key, value in found.items() if value}
    for key, sources in ((TraceMetadataKey.TRACE_SESSION, _SESSION_KEYS), (TraceMetadataKey.TRACE_USER, _USER_KEYS)):
        values = (span.get_attribute(source) for span in spans for source in sources)
        if value := next((value for value in values if value), None):
            written[key] = str(value)
    return written
