"""One OTLP span -> its row of `spans` and what its trace needs to know of it.

The row is what `Span.from_otel_proto`, `translate_span_when_storing` and `SqlAlchemyStore.log_spans` of MLflow 3.17
make together, without the objects in between.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from mlflow.store.tracking.utils.trace_analytics import MODEL_DIMENSION_MAX_LENGTH, finite_float_or_none
from mlflow.tracing.constant import CostKey, SpanAttributeKey
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from spanbridge.collector.exporters.mlflow.database.bulk.mlflow_translation import Event, translate
from spanbridge.collector.exporters.mlflow.database.bulk.prices import Prices
from spanbridge.collector.exporters.mlflow.database.bulk.values import (
    Unfit,
    as_json,
    mapping,
    members,
    plain,
    quote,
    stored,
)
from spanbridge.collector.exporters.mlflow.record.sanitize import Attributes, Value
from spanbridge.processors.attributes import to_python
from spanbridge.processors.types import NO_PARENT

Row: TypeAlias = tuple[Any, ...]

Extras: TypeAlias = tuple[list[Event], list[dict[str, Any]]]
"""A span's events and links."""

COLUMNS = (
    "trace_id",
    "experiment_id",
    "span_id",
    "parent_span_id",
    "name",
    "type",
    "status",
    "start_time_unix_nano",
    "end_time_unix_nano",
    "content",
    "input_cost",
    "output_cost",
    "total_cost",
    "model_name",
    "model_provider",
)

_STATUS = {Status.STATUS_CODE_OK: "OK", Status.STATUS_CODE_ERROR: "ERROR"}
_SPAN_ID_BYTES = 8
_MOST_NANOSECONDS = (1 << 63) - 1
_COSTS = (CostKey.INPUT_COST, CostKey.OUTPUT_COST, CostKey.TOTAL_COST)
_NO_COSTS = (None, None, None)


@dataclass(frozen=True, slots=True)
class TraceIds:
    """The forms of a trace's id: MLflow's ("tr-" and 32 hex digits), that as JSON, and base64 of the 16 bytes."""

    mlflow: str
    mlflow_json: str
    base64: str


class Source(NamedTuple):
    """A span, its attributes, and what a root gets as attribute `service.name` ("" for nothing)."""

    span: Span
    attributes: Attributes
    service_name: str = ""


@dataclass(slots=True)
class SpanFacts:
    """A span's row, and what its trace sums up: times in ns, stored attributes, token usage and cost."""

    id: str
    parent: str | None
    start: int
    end: int
    status: str
    attributes: dict[str, str]
    usage: dict[str, Any] | None
    cost: dict[str, Any] | None
    row: Row


def span_facts(source: Source, ids: TraceIds, experiment_id: int, prices: Prices) -> SpanFacts:
    """Make the row of one span.

    Args:
        source: The span with its attributes.
        ids: Of its trace.
        experiment_id: The experiment it goes to.
        prices: What a model call costs.

    Raises:
        Unfit: The span is one that MLflow refuses, or takes in a way unknown here.
    """
    span, sent, service_name = source
    span_id, parent = _ids(span)
    attributes = {key: stored(value) for key, value in sent.items()}
    attributes[SpanAttributeKey.REQUEST_ID] = ids.mlflow_json
    if service_name and parent is None:
        attributes["service.name"] = quote(service_name)
    events = [_event(event) for event in span.events]
    links = [_link(link) for link in span.links]
    translate(attributes, events)
    usage = mapping(attributes.get(SpanAttributeKey.CHAT_USAGE))
    model, provider = _model(attributes)
    cost = _cost(attributes, usage, model, provider, prices)
    start, end = _times(span)
    status = _STATUS.get(span.status.code, "UNSET")
    row = (
        ids.mlflow,
        experiment_id,
        span_id,
        parent,
        span.name,
        _type_column(sent.get(SpanAttributeKey.SPAN_TYPE)),
        status,
        start,
        end,
        _content(span, ids, status, attributes, (events, links)),
        *(_NO_COSTS if cost is None else [finite_float_or_none(cost.get(key)) for key in _COSTS]),
        model and model[:MODEL_DIMENSION_MAX_LENGTH],
        provider and provider[:MODEL_DIMENSION_MAX_LENGTH],
    )
    return SpanFacts(span_id, parent, start, end, status, attributes, usage, cost, row)


def _ids(span: Span) -> tuple[str, str | None]:
    span_id, parent = span.span_id, span.parent_span_id
    if len(span_id) != _SPAN_ID_BYTES or len(parent) not in (0, _SPAN_ID_BYTES):
        raise Unfit("a span id is not of eight bytes")
    return span_id.hex(), None if parent in NO_PARENT else parent.hex()


def _times(span: Span) -> tuple[int, int]:
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    if start > _MOST_NANOSECONDS or end > _MOST_NANOSECONDS:
        raise Unfit("a time is beyond the column's 63 bits")
    return start, end


def _type_column(value: Value | None) -> str | None:
    """The span type as sent: MLflow fills the column from the untranslated span."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, AnyValue) and value.WhichOneof("value") is None:
        return None
    raise Unfit("the span type is not a string")


def _model(attributes: dict[str, str]) -> tuple[str | None, str | None]:
    """Model and provider."""
    model, provider = attributes.get(SpanAttributeKey.MODEL), attributes.get(SpanAttributeKey.MODEL_PROVIDER)
    return model and plain(model), provider and plain(provider)


def _cost(
    attributes: dict[str, str],
    usage: dict[str, Any] | None,
    model: str | None,
    provider: str | None,
    prices: Prices,
) -> dict[str, Any] | None:
    """The cost that was sent, else the one by price, which is added to the attributes."""
    if text := attributes.get(SpanAttributeKey.LLM_COST):
        cost = mapping(text)
        if cost is None:
            raise Unfit("mlflow.llm.cost is not an object")
        return cost
    if not usage or not model:
        return None
    cost = prices.cost(model, usage, provider)
    if cost is not None:
        pairs = ", ".join([f'"{key}": {cost[key]!r}' for key in _COSTS])
        attributes[SpanAttributeKey.LLM_COST] = f"{{{pairs}}}"
    return cost


def _content(span: Span, ids: TraceIds, status: str, attributes: dict[str, str], extras: Extras) -> str:
    """`json.dumps` of the span as `Span.to_dict` has it, with the translated attributes."""
    parent = "null" if span.parent_span_id in NO_PARENT else f'"{b64encode(span.parent_span_id).decode()}"'
    message = quote(span.status.message) if status == "ERROR" else '""'
    events, links = [as_json(each) if each else "[]" for each in extras]
    return (
        f'{{"trace_id": "{ids.base64}", "span_id": "{b64encode(span.span_id).decode()}", "parent_span_id": {parent}, '
        f'"name": {quote(span.name)}, "start_time_unix_nano": {span.start_time_unix_nano}, '
        f'"end_time_unix_nano": {span.end_time_unix_nano}, "events": {events}, '
        f'"status": {{"code": "STATUS_CODE_{status}", "message": {message}}}, "attributes": {members(attributes)}, '
        f'"links": {links}}}'
    )


def _event(event: Span.Event) -> Event:
    return {"name": event.name, "time_unix_nano": event.time_unix_nano, "attributes": _python(event.attributes)}


def _python(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {attribute.key: to_python(attribute.value) for attribute in attributes}


def _link(link: Span.Link) -> dict[str, Any]:
    """As `mlflow.entities.link.Link.from_otel_proto`: bytes become base64, at the top level only."""
    attributes = {
        key: b64encode(value).decode() if isinstance(value, bytes) else value
        for key, value in _python(link.attributes).items()
    }
    return {
        "trace_id": f"tr-{int.from_bytes(link.trace_id):032x}",
        "span_id": f"{int.from_bytes(link.span_id):016x}",
        "attributes": attributes or None,
    }
