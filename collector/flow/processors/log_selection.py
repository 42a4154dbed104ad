"""Which log records are taken in: those with GenAI content of a span. The others are counted and dropped."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.attributes import find
from spanbridge.processors.types import Batch, Request

ID_BYTES = 16


class LogSelection:
    """A head-stage processor of log requests: edits them in place."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._dropped = telemetry.dropped_items

    def __call__(self, request: Request) -> Request:
        """Return the request with what is of use."""
        if isinstance(request, Batch):
            return request
        for resource_logs in request.resource_logs:
            for scope_logs in resource_logs.scope_logs:
                kept = self._chosen(scope_logs.log_records)
                if len(kept) < len(scope_logs.log_records):
                    del scope_logs.log_records[:]
                    scope_logs.log_records.extend(kept)
        return request

    def _chosen(self, records: Sequence[LogRecord]) -> list[LogRecord]:
        chosen = []
        for record in records:
            reason = why_not(record)
            if reason:
                self._dropped.labels("logs", reason).inc()
            else:
                chosen.append(record)
        return chosen


def why_not(record: LogRecord) -> str:
    """Return why a record is of no use; empty if it is of use."""
    if len(record.trace_id) != ID_BYTES or not any(record.trace_id):
        return "belongs to no trace"
    name = record.event_name
    if not name:
        found = find(record.attributes, "event.name")
        name = found.string_value if found else ""
    return "" if name.startswith("gen_ai.") else "holds no GenAI content"
