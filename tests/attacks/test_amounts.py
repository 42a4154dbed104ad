"""Spans, attributes, events and links by the million: a span is cut to its limits, a request of too many is refused."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest
import urllib3

from spanbridge.collector.receivers.otlp.config import OtlpReceiverConfig
from spanbridge.processors.types import Batch
from tests.samples.otlp_requests import GRPC_EXPORT, SPANS, as_json, batch, grpc_config, http_config, message, serving

DEFAULTS = OtlpReceiverConfig.model_validate({"protocols": {"http": None}})
LIMITS = {"counts": DEFAULTS.counts, "max_items": DEFAULTS.max_request_items}
IDS = b"\x0a\x10" + b"t" * 16 + b"\x12\x08" + b"s" * 8
HOW_MANY = 1_000_000
LARGE = {
    "attributes": message(9, payload=b"\x0a\x05key%02d\x12\x0c\x0a\x0avalue%05d" % (1, 1)),
    "events": message(11, payload=b"\x12\x05event"),
    "links": message(13, payload=b"\x0a\x10" + b"t" * 16 + b"\x12\x08" + b"s" * 8),
}


async def post(port, body, content_type="application/x-protobuf"):
    def send():
        with urllib3.PoolManager(retries=False, timeout=60) as pool:
            url = f"http://127.0.0.1:{port}/v1/traces"
            return pool.request("POST", url, body=body, headers={"content-type": content_type})

    return await asyncio.to_thread(send)


async def call(port, body):
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        try:
            await channel.unary_unary(GRPC_EXPORT)(body, timeout=60)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()
    return grpc.StatusCode.OK, ""


@pytest.mark.parametrize("what", LARGE)
async def test_a_span_with_a_million_of_them_is_cut_and_its_neighbours_are_not(what):
    good = message(2, payload=IDS.replace(b"s", b"g") + LARGE[what])
    body = message(*SPANS, payload=good + message(2, payload=IDS + LARGE[what] * HOW_MANY) + good)
    async with serving(http_config(), **LIMITS) as served:
        assert (await post(served.port, body)).status == 200
        [request] = served.sink.requests
        first, cut, last = request.resource_spans[0].scope_spans[0].spans
        assert len(getattr(first, what)) == len(getattr(last, what)) == 1
        assert len(getattr(cut, what)) == 10_000
        assert getattr(cut, f"dropped_{what}_count") == HOW_MANY - 10_000
        assert served.sample("spanbridge_receiver_dropped_elements", "http") == HOW_MANY - 10_000


async def test_resources_and_scopes_are_cut_too():
    attribute = b"\x0a\x01k\x12\x03\x0a\x01v"
    resource = message(1, payload=message(1, payload=attribute) * HOW_MANY)
    body = message(1, payload=resource + message(2, 2, payload=IDS))
    async with serving(http_config(), **LIMITS) as served:
        assert (await post(served.port, body)).status == 200
        [request] = served.sink.requests
        assert len(request.resource_spans[0].resource.attributes) == 10_000
        assert request.resource_spans[0].resource.dropped_attributes_count == HOW_MANY - 10_000


def many_spans(count):
    return message(*SPANS, payload=message(2, payload=IDS) * count)


async def test_a_request_of_too_many_spans_is_refused_for_good_and_says_why():
    async with serving(http_config(), **LIMITS) as http, serving(grpc_config(), **LIMITS) as grpc_:
        answer = await post(http.port, many_spans(100_001))
        assert (answer.status, "retry-after" in answer.headers) == (413, False)
        assert b"the request holds 100001 items, the limit is 100000; send fewer at a time" in answer.data
        code, details = await call(grpc_.port, many_spans(100_001))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "the limit is 100000" in details
        assert not http.sink.requests
        assert not grpc_.sink.requests
        assert (await post(http.port, many_spans(100_000))).status == 200


async def test_the_limits_are_the_user_s():
    config = OtlpReceiverConfig.model_validate(
        {"protocols": {"http": None}, "attribute_count_limit": 2, "max_request_items": 3}
    )
    own = {"counts": config.counts, "max_items": config.max_request_items}
    async with serving(http_config(), **own) as served:
        assert (await post(served.port, json.dumps(as_json(batch(4))), "application/json")).status == 413
        assert (await post(served.port, json.dumps(as_json(batch(3))), "application/json")).status == 200
        [request] = served.sink.requests
        assert isinstance(request, Batch)
        assert [len(span.attributes) for span in request.resource_spans[0].scope_spans[0].spans] == [2, 2, 2]
