"""The limits on what one span and one request hold, over either transport and in either encoding."""

import json

import pytest

from spanbridge.processors.attributes import put
from spanbridge.processors.limits import CountLimits
from spanbridge.processors.types import Batch, Logs
from tests.integration.test_otlp_grpc import call, refusal
from tests.integration.test_otlp_http import JSON, PROTOBUF, post
from tests.samples.otlp_requests import (
    GRPC_EXPORT_LOGS,
    Served,
    as_json,
    batch,
    grpc_config,
    http_config,
    logs,
    serving,
)

LIMITS = CountLimits(attributes=3, events=2, links=1)
WAYS = ["grpc", "http", "http-json"]
ways = pytest.mark.parametrize("way", WAYS)


async def send(served: Served, way: str, request: Batch | Logs) -> None:
    path = "/v1/traces" if isinstance(request, Batch) else "/v1/logs"
    if way == "grpc":
        method = {} if isinstance(request, Batch) else {"method": GRPC_EXPORT_LOGS}
        await call(served.port, request.SerializeToString(), **method)
    elif way == "http":
        assert (await post(served.port, request.SerializeToString(), PROTOBUF, path=path)).status == 200
    else:
        assert (await post(served.port, json.dumps(as_json(request)).encode(), JSON, path=path)).status == 200


def configuration(way: str):
    return grpc_config() if way == "grpc" else http_config()


def transport(way: str) -> str:
    return way.removesuffix("-json")


def full_span(*, attributes: int, events: int, links: int) -> Batch:
    request = batch(1, attributes=attributes)
    span = request.resource_spans[0].scope_spans[0].spans[0]
    for number in range(events):
        event = span.events.add(name=f"event {number}")
        for index in range(attributes):
            put(event.attributes, f"key {index}", index)
    for number in range(1, links + 1):
        span.links.add(trace_id=bytes([number]) * 16, span_id=bytes([number]) * 8)
    return request


@ways
async def test_what_is_beyond_the_limits_of_a_span_is_dropped_and_counted(way: str) -> None:
    async with serving(configuration(way), counts=LIMITS) as served:
        await send(served, way, full_span(attributes=5, events=4, links=3))
        span = served.sink.requests[0].resource_spans[0].scope_spans[0].spans[0]
        assert (len(span.attributes), len(span.events), len(span.links)) == (3, 2, 1)
        assert [len(event.attributes) for event in span.events] == [3, 3]
        assert (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count) == (2, 2, 2)
        dropped = 2 + 2 + 2 + 2 * 2  # attributes, events, links, attributes of the events that stay
        assert served.sample("spanbridge_receiver_dropped_elements", transport(way)) == dropped


@ways
async def test_events_and_links_are_limited_also_where_attributes_are_few(way: str) -> None:
    async with serving(configuration(way), counts=LIMITS) as served:
        await send(served, way, full_span(attributes=1, events=4, links=3))
        span = served.sink.requests[0].resource_spans[0].scope_spans[0].spans[0]
        assert (len(span.attributes), len(span.events), len(span.links)) == (1, 2, 1)
        assert served.sample("spanbridge_receiver_dropped_elements", transport(way)) == 4


@ways
async def test_a_span_within_the_limits_is_left_as_it_is(way: str) -> None:
    async with serving(configuration(way), counts=LIMITS, max_value=100) as served:
        sent = full_span(attributes=3, events=2, links=1)
        await send(served, way, sent)
        assert served.sink.requests == [sent]
        assert served.sample("spanbridge_receiver_dropped_elements", transport(way)) == 0
        assert served.sample("spanbridge_receiver_truncated_values", transport(way)) == 0


@ways
async def test_long_values_are_cut_and_counted(way: str) -> None:
    async with serving(configuration(way), max_value=20, take_logs=True) as served:
        request, records = batch(2, attributes=1), logs()
        for span in request.resource_spans[0].scope_spans[0].spans:
            span.attributes[0].value.string_value = "x" * 10_000
        put(records.resource_logs[0].scope_logs[0].log_records[0].attributes, "key", "y" * 10_000)
        await send(served, way, request)
        await send(served, way, records)
        taken, taken_records = served.sink.requests
        values = [span.attributes[0].value.string_value for span in taken.resource_spans[0].scope_spans[0].spans]
        values.append(taken_records.resource_logs[0].scope_logs[0].log_records[0].attributes[0].value.string_value)
        assert all(len(value) < 100 for value in values)
        assert served.sample("spanbridge_receiver_truncated_values", transport(way)) == 3


async def test_a_request_of_too_many_items_is_refused_for_good() -> None:
    async with serving(grpc_config(), max_items=10) as served:
        await call(served.port, batch(10).SerializeToString())
        error = await refusal(served.port, batch(11).SerializeToString())
        assert error.code().name == "RESOURCE_EXHAUSTED"
        assert error.details() == "the request holds 11 items, the limit is 10; send fewer at a time"
    async with serving(http_config(), max_items=10) as served:
        for body, kind in ((batch(11).SerializeToString(), PROTOBUF), (json.dumps(as_json(batch(11))).encode(), JSON)):
            assert (await post(served.port, body, kind)).status == 413
        assert served.sink.requests == []
