"""What a client program says it has recorded, and what MLflow shows of it, in one form that can be compared.

A client prints one JSON list of spans. A span has `trace_id`, `span_id` and `parent_id` (hex, the parent's may be
null), `name`, `kind` (INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER), `start` and `end` (ns since 1970, as text),
`status` (UNSET, OK, ERROR), `message`, `trace_state`, `scope` (name, version), `attributes`, `events` (`name`, `time`,
`attributes`) and `links` (`trace_id`, `span_id`, `attributes`). Values are as OTLP/JSON spells them: bytes in base64,
NaN and infinities as words.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from mlflow.entities import Span

Json = dict[str, Any]

MADE_BY_MLFLOW = {"mlflow.traceRequestId"}
TRACE_NAME = "mlflow.traceTag.mlflow.traceName"


@dataclass(frozen=True)
class SpanFacts:
    """Everything that MLflow can show of a span; times in ns, a link as (trace id, span id, attributes)."""

    name: str
    parent: str | None
    start: int
    end: int
    status: str
    message: str
    attributes: Json
    events: list[tuple[str, int, Json]]
    links: list[tuple[str, str, Json]]

    def as_json(self) -> str:
        """All of it as a text, in which values of different types differ."""
        return json.dumps(asdict(self), sort_keys=True)


def recorded_facts(span: Json) -> SpanFacts:
    """What MLflow should show of a recorded span.

    Scope, kind and trace state have no place of their own in MLflow; they are shown as attributes that are named as
    in OpenTelemetry's mapping to formats other than OTLP.
    """
    scope, version = span["scope"]
    kind = "" if span["kind"] == "INTERNAL" else span["kind"].lower()
    beside = {"otel.scope.name": scope, "otel.scope.version": version, "span.kind": kind}
    beside["otel.trace_state"] = span["trace_state"]
    if span["parent_id"] is None:
        beside[TRACE_NAME] = span["name"]
    return SpanFacts(
        name=span["name"],
        parent=span["parent_id"],
        start=int(span["start"]),
        end=int(span["end"]),
        status=span["status"],
        message=span["message"],
        attributes={**span["attributes"], **{key: value for key, value in beside.items() if value}},
        events=[(event["name"], int(event["time"]), event["attributes"]) for event in span["events"]],
        links=[(f"tr-{link['trace_id']}", link["span_id"], link["attributes"]) for link in span["links"]],
    )


def shown_facts(span: Span) -> SpanFacts:
    """What MLflow shows of a span."""
    return SpanFacts(
        name=span.name,
        parent=span.parent_id,
        start=span.start_time_ns,
        end=span.end_time_ns,
        status=span.status.status_code.value,
        message=span.status.description,
        attributes={key: value for key, value in span.attributes.items() if key not in MADE_BY_MLFLOW},
        events=[(event.name, event.timestamp, event.attributes) for event in span.events],
        links=[(link.trace_id, link.span_id, link.attributes or {}) for link in span.links],
    )
