"""GenAI content that comes as log records, joined to its span by span id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from spanbridge.processors.attributes import as_dict, to_python
from spanbridge.processors.genai.convention import Event
from spanbridge.processors.genai.conventions import otel
from spanbridge.processors.genai.head import write_content
from spanbridge.processors.genai.mlflow_attributes import CONTENT
from spanbridge.processors.genai.recognition import Recognised
from spanbridge.processors.genai.values import decoded
from spanbridge.processors.genai.view import SpanView
from spanbridge.processors.types import Logs

_SEMCONV = (otel.CONVENTION,)
"""For a span that states nothing itself but has GenAI log records."""


def join_logs(read: Sequence[tuple[SpanView, Recognised]], logs: Logs) -> None:
    """Set inputs and outputs of spans that have none from their log records."""
    records = _by_span(logs)
    for view, recognised in read:
        found = records.get(view.span.span_id)
        missing = [key for key in CONTENT if key not in view]
        if found and missing:
            found.sort(key=lambda record: record.time_unix_nano or record.observed_time_unix_nano)
            events = [_event(record) for record in found]
            write_content(view, recognised.conventions or _SEMCONV, events, missing)


def _by_span(logs: Logs) -> dict[bytes, list[LogRecord]]:
    records: dict[bytes, list[LogRecord]] = defaultdict(list)
    for resource_logs in logs.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                records[record.span_id].append(record)
    return records


def _event(record: LogRecord) -> Event:
    """Return a record's name, and its attributes with the fields of its body; a plain body is its content."""
    attributes: dict[str, Any] = as_dict(record.attributes)
    name = record.event_name or attributes.get("event.name")
    body = to_python(record.body)
    fields = decoded(body)
    if isinstance(fields, dict):
        return str(name), {**attributes, **fields}
    return str(name), attributes if body is None else {**attributes, "content": body}
