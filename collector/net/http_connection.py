"""uvicorn's HTTP/1.1 connection with bounds: time to send, bytes beside the body, number of connections."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

import httptools
from typing_extensions import override
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from spanbridge.collector.net.limits import ConnectionLimits

_MAX_FIELDS = 128
_MAX_OVERHEAD = 64 << 10
"""Bytes of a request that are not its body: request line, headers, chunk framing, trailers."""

_MAX_PIPELINE = 32
"""Requests sent ahead of their turn; uvicorn itself goes on reading them."""

_LINGER = 5.0
"""Seconds in which the rest of a request that was refused is read and thrown away: to close at once would reset the
connection and take the answer away from the client."""

_FAREWELL = 1.0

_logger = logging.getLogger(f"{__name__}.uvicorn")
_logger.setLevel(logging.ERROR)  # uvicorn warns of every malformed request, at whose pleasure a log would grow


@dataclass(slots=True)
class Connections:
    """What the connections of one server share; `idle` is ordered, the one that is idle longest first."""

    limits: ConnectionLimits
    uvicorn: Config
    state: ServerState = field(default_factory=ServerState)
    idle: dict[Connection, None] = field(default_factory=dict)

    def make_room(self) -> bool:
        """Whether one more connection fits; closes the one that is idle longest, should that help."""
        if len(self.state.connections) > self.limits.max_connections:
            if not self.idle:
                return False
            longest = next(iter(self.idle))
            del self.idle[longest]
            longest.transport.close()
        return True

    async def close(self) -> None:
        """Cut the connections that are left; what was answered has a moment to leave the buffers."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _FAREWELL
        while self.state.connections:
            for connection in tuple(self.state.connections):
                if not connection.transport.is_closing() or loop.time() > deadline:
                    connection.transport.abort()
            await asyncio.sleep(0.01)


class Connection(HttpToolsProtocol):
    """One client's connection: at most one timer runs for what the client is waited for."""

    def __init__(self, shared: Connections) -> None:
        super().__init__(shared.uvicorn, shared.state, {})
        self.logger = _logger
        self._shared = shared
        self._limits = shared.limits
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._overhead = self._body = 0
        self._in_headers = self._in_message = self._deaf = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows it to Transport
        if not self._shared.make_room():
            self._say(b"503 Service Unavailable\r\nretry-after: 1")
            self.transport.close()
            return
        self._shared.idle[self] = None
        self._wait(self._limits.read_header_timeout)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.idle.pop(self, None)
        self._wait(0)
        self._cancel_write_timer()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._overhead += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._overhead > _MAX_OVERHEAD + min(self._body, self._limits.max_bytes):
            self._give_up()

    def _give_up(self) -> None:
        """There is more beside the body than any client has to send."""
        if not self._in_headers:
            self.transport.abort()
            return
        self._deaf = True
        self._say(b"431 Request Header Fields Too Large")
        self._wait(_LINGER)

    def _feed(self, data: bytes) -> None:
        """Parse as HTTP/1.1 what comes, also when the client would rather upgrade.

        Java's HttpClient offers h2c with every request in plain text. The parser takes that for the end of HTTP, in
        the midst of a request whose body follows: such a request is parsed again without the offer.
        """
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade() + data[upgrade.args[0] :]
            else:
                return

    def _without_upgrade(self) -> bytes:
        lines = [b"%b %b HTTP/1.1" % (self.parser.get_method(), self.url)]
        lines += [b"%b: %b" % field for field in self.headers if field[0] not in (b"connection", b"upgrade")]
        return b"\r\n".join([*lines, b"", b""])

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._shared.idle.pop(self, None)
        self._overhead = self._body = 0
        self._in_headers = self._in_message = True
        self._wait(self._limits.read_header_timeout)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_headers:
            return  # a trailer, of which OTLP has none
        if len(self.headers) >= _MAX_FIELDS:
            raise ValueError("too many header fields")  # which the parser turns into 400
        super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._wait(self._limits.read_timeout)
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("no proxy")
        if len(self.pipeline) >= _MAX_PIPELINE:
            raise ValueError("too many requests ahead")
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    @override
    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        self._overhead -= len(body)
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._in_message = False
        self._wait(0)
        if self.cycle.response_complete:
            self._rest()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()
        if not self._in_message:
            self._rest()
        elif self.cycle.response_complete:
            self._wait(min(self._limits.read_timeout or _LINGER, _LINGER))

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        if self._limits.write_timeout:
            self._write_timer = self.loop.call_later(self._limits.write_timeout, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_write_timer()

    def _rest(self) -> None:
        """Between requests."""
        if not self.transport.is_closing() and self.cycle.response_complete:
            self._shared.idle[self] = None
            self._wait(self._limits.idle_timeout)

    def _wait(self, seconds: float) -> None:
        """Give the client so long for what comes next; 0 for as long as it takes."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self.transport.abort) if seconds else None

    def _cancel_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _say(self, status: bytes) -> None:
        self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
