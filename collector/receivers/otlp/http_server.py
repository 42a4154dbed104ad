"""OTLP/HTTP: a plain ASGI application, and uvicorn's httptools connection serving it in this event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import uvicorn

from spanbridge.collector.errors import Invalid, TooLarge
from spanbridge.collector.net.http_connection import Connection, Connections
from spanbridge.collector.net.listening import BACKLOG, bind, starting
from spanbridge.collector.net.tls import server_ssl_context
from spanbridge.collector.otlp.requests import CONTENT_TYPES, Encoding, Status, encode_status
from spanbridge.collector.receivers.otlp.config import HttpConfig
from spanbridge.collector.receivers.otlp.cors import Cors
from spanbridge.collector.receivers.otlp.intake import Body, Hold, Intake, Receiver, Room
from spanbridge.collector.settings import host_and_port
from spanbridge.processors.types import Batch, Logs

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

_ENCODINGS: Mapping[str, Encoding] = {content_type: encoding for encoding, content_type in CONTENT_TYPES.items()}
_CODINGS = {"identity": "", "x-gzip": "gzip"}
_TLS_TIMEOUT = 10.0
"""Seconds for a TLS handshake, and for its farewell."""


class Answer(NamedTuple):
    """A response, less the headers that all of them have."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


_NOT_FOUND = Answer(404, b"404 page not found")
_NOT_POST = Answer(405, b"405 method not allowed, supported: [POST]", headers=(("allow", "POST"),))
_NOT_OTLP = Answer(415, f"415 unsupported media type, supported: [{', '.join(_ENCODINGS)}]".encode())


@contextlib.asynccontextmanager
async def serve(config: HttpConfig, receiver: Receiver, *, grace: float = 5.0) -> AsyncIterator[int]:
    """Serve while the context lasts; yields the bound port, 0 for a unix socket.

    Args:
        config: the protocol's section.
        receiver: what is done with requests.
        grace: on leaving nothing more is taken; seconds that requests under way have to finish.

    Raises:
        ConfigError: the endpoint can't be bound, or the TLS files can't be used.
    """
    shared = Connections(config.connection_limits, _uvicorn(Application(config, receiver)))
    with starting(f"receivers::{receiver.id}::protocols::http", config.endpoint):
        servers = await _listen(config, lambda: Connection(shared))
    try:
        yield 0 if config.transport == "unix" else servers[0].sockets[0].getsockname()[1]
    finally:
        await _stop(servers, shared, grace)
        if config.transport == "unix":
            _remove(config.endpoint)


class Application:
    """The ASGI application of one receiver."""

    def __init__(self, config: HttpConfig, receiver: Receiver) -> None:
        room = Room(config.max_bytes)
        self._routes: dict[bytes, Intake[Any]] = {
            config.traces_url_path.encode(): Intake(Batch, receiver, "http", room)
        }
        if receiver.logs:
            self._routes[config.logs_url_path.encode()] = Intake(Logs, receiver, "http", room)
        self._codings = set(config.compression_algorithms)
        # as RFC 9110 15.5.16 and 12.5.3 have it; the Collector answers 400, and clients retry neither
        self._not_decodable = Answer(
            415,
            b"415 unsupported content encoding",
            headers=(("accept-encoding", ", ".join(sorted(self._codings - {""})) or "identity"),),
        )
        self._cors = Cors(config.cors) if config.cors and config.cors.allowed_origins else None
        self._headers = list(config.response_headers.items())
        if not config.keep_alives_enabled:
            self._headers.append(("connection", "close"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = _headers(scope["headers"])
        extra: Iterable[tuple[str, str]] = ()
        if self._cors and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            answer, extra = Answer(204, b""), self._cors.preflight(headers)
        else:
            answer = await self._answer(scope, headers, receive)
            if self._cors:
                extra = self._cors.headers(headers)
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [
                    (name.encode("latin-1"), value.encode("latin-1", "replace"))
                    for name, value in (*_usual_headers(answer), *answer.headers, *extra, *self._headers)
                ],
            }
        )
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, headers: dict[str, str], receive: Receive) -> Answer:
        intake = self._routes.get(scope["raw_path"])
        if intake is None:
            return _NOT_FOUND
        if scope["method"] != "POST":
            return _NOT_POST
        encoding = _ENCODINGS.get(headers.get("content-type", "").partition(";")[0].strip().lower())
        if encoding is None:
            return _NOT_OTLP
        coding = headers.get("content-encoding", "").strip().lower()
        coding = _CODINGS.get(coding, coding)
        if coding not in self._codings:
            return self._not_decodable

        async def read(hold: Hold) -> Body:
            length = int(headers.get("content-length", "0"))
            return Body(await _body(receive, hold, length, intake.max_bytes), coding)

        outcome = await intake(headers, read, encoding, peer=(scope["client"] or ("",))[0])
        if isinstance(outcome, Status):
            return _refusal(outcome, encoding)
        return Answer(200, outcome, CONTENT_TYPES[encoding])


def _refusal(status: Status, encoding: Encoding) -> Answer:
    retry_after = status.retry_after_header
    headers = () if retry_after is None else (("retry-after", retry_after),)
    return Answer(status.http, encode_status(status, encoding), CONTENT_TYPES[encoding], headers)


async def _body(receive: Receive, hold: Hold, announced: int, limit: int) -> bytes | bytearray:
    """The whole body; a body over the limit is not read any further than that."""
    body = bytearray()
    size = announced
    while size <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Invalid("the client went away")
        hold.add(len(message["body"]))
        body += message["body"]
        if not message["more_body"]:
            return body
        size = max(announced, len(body))
    raise TooLarge(f"the request is larger than the limit of {limit} bytes")


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-cased name. Repeated ones are joined (RFC 9110 5.3), so that none can hide behind another."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1"), _text(value)
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _usual_headers(answer: Answer) -> Iterable[tuple[str, str]]:
    yield "date", _date(int(time.time()))
    if answer.status != 204:  # noqa: PLR2004  No Content
        yield "content-type", answer.content_type
        yield "content-length", str(len(answer.body))


@functools.lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def _uvicorn(application: Application) -> uvicorn.Config:
    config = uvicorn.Config(
        application,
        interface="asgi3",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=0,  # Connection has timers of its own
    )
    config.load()
    return config


async def _listen(config: HttpConfig, connection: Callable[[], Connection]) -> list[asyncio.Server]:
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {"backlog": BACKLOG}
    if config.tls:
        options["ssl"] = server_ssl_context(config.tls)
        options["ssl_handshake_timeout"] = options["ssl_shutdown_timeout"] = _TLS_TIMEOUT
    if config.transport == "unix":
        return [await loop.create_unix_server(connection, config.endpoint, **options)]
    sockets = bind(*host_and_port(config.endpoint))
    return [await loop.create_server(connection, sock=listener, **options) for listener in sockets]


def _remove(socket_path: str) -> None:
    Path(socket_path).unlink(missing_ok=True)  # Python does so itself from 3.13 on


async def _stop(servers: Iterable[asyncio.Server], shared: Connections, grace: float) -> None:
    """Close what is idle, let what is under way finish, then cut what is left."""
    state = shared.state
    for server in servers:
        server.close()
    for connection in tuple(state.connections):
        connection.shutdown()
    if state.tasks:
        await asyncio.wait(state.tasks, timeout=grace)
    for task in tuple(state.tasks):
        task.cancel()
    await shared.close()
