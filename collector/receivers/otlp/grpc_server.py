"""OTLP/gRPC: the trace and log services, and gRPC's health service, on one grpc.aio server.

Calls are registered as taking a stream, of which the first message is read. On the wire that is the same, but the
message is asked for only when the caller has been authenticated. gRPC's own decompression is off, as its older
versions unfold without bound; what arrives is told apart by its first byte, which no OTLP request begins with.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from spanbridge.collector.errors import Invalid
from spanbridge.collector.net.listening import starting
from spanbridge.collector.net.tls import grpc_server_credentials
from spanbridge.collector.otlp.requests import Status, encode_status
from spanbridge.collector.receivers.otlp.config import GrpcConfig, KeepaliveConfig
from spanbridge.collector.receivers.otlp.intake import Body, Hold, Intake, Receiver, Room
from spanbridge.collector.settings import host_and_port
from spanbridge.processors.types import Batch, Logs

Call: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

TRACES = "opentelemetry.proto.collector.trace.v1.TraceService"
LOGS = "opentelemetry.proto.collector.logs.v1.LogsService"
HEALTH = "grpc.health.v1.Health"

_READ_TIMEOUT = 60.0
"""Seconds between a call's start and its message; clients with a deadline of their own give up long before."""

_HANDSHAKE_TIMEOUT = 10.0
"""Seconds from a connection to its TLS handshake and HTTP/2 preface."""

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_GZIP, _ZLIB = b"\x1f", b"\x78"


@contextlib.asynccontextmanager
async def serve(config: GrpcConfig, receiver: Receiver, *, grace: float = 5.0) -> AsyncIterator[int]:
    """Serve while the context lasts; yields the bound port, 0 for a unix socket.

    Args:
        config: the protocol's section.
        receiver: what is done with requests.
        grace: on leaving nothing more is taken; seconds that calls under way have to finish.

    Raises:
        ConfigError: the endpoint can't be bound, or the TLS files can't be used.
    """
    room = Room(config.max_bytes)
    services = {TRACES: _export(Intake(Batch, receiver, "grpc", room))}
    if receiver.logs:
        services[LOGS] = _export(Intake(Logs, receiver, "grpc", room))
    health = _Health(services)
    server = grpc.aio.server(options=list(_options(config)))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, {"Export": handler}) for name, handler in services.items()]
        + [health.handler()]
    )
    with starting(f"receivers::{receiver.id}::protocols::grpc", config.endpoint):
        port = _listen(server, config)
    await server.start()
    try:
        yield 0 if config.transport == "unix" else port
    finally:
        health.stopping.set()
        await server.stop(grace)


def _export(intake: Intake[Any]) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def export(_messages: object, call: Call) -> bytes:
        async def read(hold: Hold) -> Body:
            return await _message(call, hold)

        answer = await intake(_headers(call), read, peer=call.peer().rpartition(":")[0])
        if isinstance(answer, Status):
            await _abort(call, answer)
        return answer

    return grpc.stream_unary_rpc_method_handler(export)


async def _message(call: Call, hold: Hold) -> Body:
    try:
        async with asyncio.timeout(_READ_TIMEOUT):
            message = await call.read()
    except TimeoutError as error:
        raise Invalid("the call's message did not come") from error
    if not isinstance(message, bytes):
        raise Invalid("the call holds no message")
    hold.add(len(message))
    return Body(message, {_GZIP: "gzip", _ZLIB: "zlib"}.get(message[:1], ""))


def _headers(call: Call) -> dict[str, str]:
    """The call's metadata; repeated keys are joined as in HTTP, binary values left out."""
    headers: dict[str, str] = {}
    for key, value in call.invocation_metadata() or ():
        if isinstance(value, str):
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


async def _abort(call: Call, status: Status) -> NoReturn:
    trailers = (("grpc-status-details-bin", encode_status(status, "protobuf")),) if status.retry_after else ()
    await call.abort(_CODES[status.grpc], status.message, trailers)


class _Health:
    """grpc.health.v1 for "" and the services, open to all: a probe has no credentials, and the answer is no secret.

    Its messages hold one field each, with the number and type that the wrappers of protobuf's own have too.
    """

    SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3

    def __init__(self, services: Iterable[str]) -> None:
        self._services = {"", *services}
        self.stopping = asyncio.Event()

    def handler(self) -> grpc.GenericRpcHandler[StringValue, Int32Value]:
        messages = StringValue.FromString, Int32Value.SerializeToString
        return grpc.method_handlers_generic_handler(
            HEALTH,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self._check, *messages),
                "Watch": grpc.unary_stream_rpc_method_handler(self._watch, *messages),
            },
        )

    def _state(self, service: str) -> int:
        if service not in self._services:
            return self.SERVICE_UNKNOWN
        return self.NOT_SERVING if self.stopping.is_set() else self.SERVING

    async def _check(self, request: StringValue, call: Call) -> Int32Value:
        state = self._state(request.value)
        if state == self.SERVICE_UNKNOWN:
            await call.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return Int32Value(value=state)

    async def _watch(self, request: StringValue, _call: Call) -> AsyncIterator[Int32Value]:
        yield Int32Value(value=self._state(request.value))
        await self.stopping.wait()
        yield Int32Value(value=self._state(request.value))


def _listen(server: grpc.aio.Server, config: GrpcConfig) -> int:
    address = f"unix:{config.endpoint}" if config.transport == "unix" else _address(*host_and_port(config.endpoint))
    if config.tls is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, grpc_server_credentials(config.tls))


def _address(host: str, port: int) -> str:
    return f"[{host or '::'}]:{port}" if not host or ":" in host else f"{host}:{port}"


def _options(config: GrpcConfig) -> Iterable[tuple[str, int]]:
    yield "grpc.max_receive_message_length", config.max_bytes
    yield "grpc.per_message_decompression", 0
    yield "grpc.so_reuseport", 0  # a second program on the same port must fail, not take half of the calls
    yield "grpc.max_allowed_incoming_connections", config.max_connections
    yield "grpc.server_handshake_timeout_ms", round(_HANDSHAKE_TIMEOUT * 1000)
    if config.max_concurrent_streams:
        yield "grpc.max_concurrent_streams", config.max_concurrent_streams
    yield from _keepalive_options(config.keepalive)


def _keepalive_options(keepalive: KeepaliveConfig) -> Iterable[tuple[str, int]]:
    server, policy = keepalive.server_parameters, keepalive.enforcement_policy
    seconds = {
        "grpc.max_connection_idle_ms": server.max_connection_idle,
        "grpc.max_connection_age_ms": server.max_connection_age,
        "grpc.max_connection_age_grace_ms": server.max_connection_age_grace,
        "grpc.keepalive_time_ms": server.time,
        "grpc.keepalive_timeout_ms": server.timeout,
        "grpc.http2.min_ping_interval_without_data_ms": policy.min_time,
    }
    yield from ((option, round(value * 1000)) for option, value in seconds.items() if value)
    yield "grpc.keepalive_permit_without_calls", int(policy.permit_without_stream)
