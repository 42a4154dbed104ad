"""What is fuzzed: for each target a function that makes what is called with each input, and raises on a wrong answer.

The property is the same for all: a documented answer or a documented error, and nothing else.
"""

# ruff: noqa: PT017  the errors are the answers here, and no pytest runs these

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from spanbridge.collector.config import loading as collector_config
from spanbridge.collector.errors import ConfigError, Refusal
from spanbridge.collector.exporters.mlflow.record.record import Recorder
from spanbridge.collector.flow.fragments import fragments
from spanbridge.collector.journal import Entry, Row
from spanbridge.collector.net.http_connection import Connection, Connections
from spanbridge.collector.otlp import requests as otlp
from spanbridge.collector.receivers.otlp.config import HttpConfig
from spanbridge.collector.receivers.otlp.http_server import Application, _uvicorn
from spanbridge.collector.receivers.otlp.intake import CONTEXT_HEADERS, Body, Intake, Receiver, Room
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.genai import GenAi, GenAiConfig, GenAiTrace
from spanbridge.processors.limits import CountLimits
from spanbridge.processors.ottl import OttlError, compile_condition
from spanbridge.processors.redaction import Redaction, RedactionConfig
from spanbridge.processors.types import Batch, Context, Logs, Trace, spans
from tests.samples.spans import trace_batch

Target = Callable[[], Callable[[bytes], None]]

LIMIT = 1 << 16
GRPC_CODES = {3, 7, 8, 14, 16}
HTTP_STATUSES = {100, 200, 204, 400, 401, 403, 404, 405, 413, 415, 431, 503}
CODINGS = ("", "gzip", "zstd", "deflate", "zlib", "snappy", "lz4", "br")


def otlp_protobuf() -> Callable[[bytes], None]:
    """A request in protobuf, from the decoder to what is handed to MLflow."""
    redaction, recorder = Redaction(RedactionConfig()), Recorder(())
    head, whole = GenAi(GenAiConfig()), GenAiTrace(GenAiConfig())

    def check(data: bytes) -> None:
        try:
            batch = otlp.decode(Batch, "protobuf", data, LIMIT)
        except Refusal as refusal:
            assert otlp.status_of(refusal).grpc in GRPC_CODES
            return
        otlp.drop_bad_ids(batch)
        batch = head(redaction(batch))
        row = Row(1, Entry(batch.SerializeToString(), Context()))
        found = fragments(row)
        assert sum(fragment.spans for fragment in found) == otlp.count(batch)
        for fragment in found:
            trace = whole(Trace(fragment.trace_id, Batch.FromString(fragment.payload)))
            assert trace is not None
            recorder(trace, 1_700_000_000_000_000_000)

    return check


def otlp_json() -> Callable[[bytes], None]:
    """A request in JSON: what is taken can be written and read again."""

    def check(data: bytes) -> None:
        for kind in (Batch, Logs):
            try:
                request = otlp.decode(kind, "json", data, LIMIT)
            except Refusal as refusal:
                assert otlp.encode_status(otlp.status_of(refusal), "json").startswith(b"{")
            else:
                written = request.SerializeToString(deterministic=True)
                assert kind.FromString(written).SerializeToString(deterministic=True) == written

    return check


COUNTS, ITEMS = CountLimits(attributes=3, events=2, links=1), 30


def intake() -> Callable[[bytes], None]:
    """A message and its metadata, as gRPC and HTTP hand them over: coding, context headers, body."""
    loop = asyncio.new_event_loop()
    receiver = _receiver()
    room = Room(LIMIT)
    intakes: list[Intake[Any]] = [
        Intake(kind, receiver, transport, room) for kind in (Batch, Logs) for transport in ("grpc", "http")
    ]
    names = list(CONTEXT_HEADERS)

    def check(data: bytes) -> None:
        head, _, body = data.partition(b"\n")
        choice = head[0] if head else 0
        headers = {names[choice % len(names)]: head[1:].decode("latin-1")}
        encoding: otlp.Encoding = "json" if choice & 64 else "protobuf"

        async def read(hold: Any) -> Body:
            hold.add(len(body))
            return Body(body, CODINGS[choice >> 2 & 3])

        answer = loop.run_until_complete(intakes[choice & 3](headers, read, encoding, peer="127.0.0.1"))
        assert room.used == 0
        if isinstance(answer, otlp.Status):
            assert answer.grpc in GRPC_CODES
            assert answer.message != "the request can't be taken in right now", "an error nobody has foreseen"
            otlp.encode_status(answer, encoding)

    return check


def _receiver() -> Receiver:
    telemetry = Telemetry(CollectorRegistry())
    return Receiver("otlp", telemetry, _take, logs=_take, max_value=20, counts=COUNTS, max_items=ITEMS)


async def _take(request: otlp.Request, context: Context) -> None:
    request.SerializeToString()
    if isinstance(request, Batch):
        assert len(list(spans(request))) <= ITEMS
        assert all(len(span.attributes) <= COUNTS.attributes for span in spans(request))
        assert all(len(span.events) <= COUNTS.events and len(span.links) <= COUNTS.links for span in spans(request))


class _Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "written after the close"
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """Nothing reads."""

    resume_reading = pause_reading


def http() -> Callable[[bytes], None]:
    """Bytes on an HTTP connection, in pieces; a zero byte ends a piece and is no part of it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    config = HttpConfig.model_validate({"endpoint": "127.0.0.1:0"})
    application = Application(config, _receiver())
    shared = Connections(config, _uvicorn(application))

    async def talk(data: bytes) -> bytes:
        wire, connection = _Wire(), Connection(shared)
        connection.connection_made(wire)
        for piece in data.split(b"\x00"):
            if piece and not wire.closed:
                connection.data_received(piece)
                await asyncio.sleep(0)
        for _ in range(6):
            await asyncio.sleep(0)
        connection.connection_lost(None)
        while tasks := list(shared.state.tasks):
            await asyncio.wait(tasks, timeout=5)
        return wire.written

    def check(data: bytes) -> None:
        written = loop.run_until_complete(talk(data))
        statuses = {int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", written)}
        assert statuses <= HTTP_STATUSES, statuses
        assert not written or statuses
        assert not shared.idle
        assert not shared.state.connections

    return check


def config() -> Callable[[bytes], None]:
    """A configuration file."""

    def check(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        try:
            collector_config.load([f"yaml:{text}"], env={"HOME": "/"})
        except ConfigError as error:
            assert error.problems
            assert all("Traceback" not in problem for problem in error.problems)

    return check


def ottl() -> Callable[[bytes], None]:
    """A condition, compiled and evaluated."""
    batch = trace_batch(size=2, name="chat")
    span = next(spans(batch))
    span.events.add(name="exception")
    resource, scope = batch.resource_spans[0].resource, batch.resource_spans[0].scope_spans[0].scope
    records = {
        "span": (resource, scope, span),
        "spanevent": (resource, scope, span, span.events[0]),
        "resource": (resource,),
    }

    def check(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        for context, record in records.items():
            try:
                assert compile_condition(text, context)(record) in (True, False)  # type: ignore[arg-type]
            except OttlError as error:
                assert str(error)

    return check


def redaction() -> Callable[[bytes], None]:
    """Rules of the redaction processor, a line each, and what they do to a request."""
    keys = ("blocked_key_patterns", "blocked_values", "allowed_values", "ignored_key_patterns")
    original = trace_batch(size=2, name="card 4111 1111 1111 1111 of ada@example.com")
    for span in spans(original):
        span.attributes.add(key="user.email").value.string_value = '{"to": ["ada@example.com"], "n": 1.5}'

    def check(data: bytes) -> None:
        rules: dict[str, list[str]] = {}
        for line in data.decode("utf-8", "replace").split("\n"):
            rules.setdefault(keys[ord(line[0]) % len(keys)] if line else keys[0], []).append(line[1:])
        try:
            made = Redaction(RedactionConfig.model_validate(rules))
        except ValidationError as error:
            assert error.errors()
            return
        batch = Batch()
        batch.CopyFrom(original)
        assert otlp.count(made(batch)) == otlp.count(original)

    return check


TARGETS: dict[str, Target] = {
    target.__name__: target for target in (otlp_protobuf, otlp_json, intake, http, config, ottl, redaction)
}

logging.disable(logging.CRITICAL)
