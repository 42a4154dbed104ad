"""Small pages over HTTP for operators and probes: a server for them, and an application of one function."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import uvicorn

from spanbridge.collector.net.http_connection import Connection, Connections
from spanbridge.collector.net.limits import ConnectionLimits
from spanbridge.collector.net.listening import bind, starting
from spanbridge.collector.net.tls import TlsServerConfig, server_ssl_context

App: TypeAlias = Callable[
    [dict[str, Any], Callable[..., Awaitable[Any]], Callable[..., Awaitable[None]]], Awaitable[None]
]
"""An ASGI application."""

Page: TypeAlias = tuple[int, str, bytes]
"""An answer: status, content type and body."""

TEXT = "text/plain; version=0.0.4; charset=utf-8"


@asynccontextmanager
async def serve(app: App, section: str, host: str, port: int, tls: TlsServerConfig | None = None) -> AsyncIterator[int]:
    """Serve an application while the context lasts; yields the port.

    Args:
        app: what answers.
        section: the path in the configuration that problems begin with.
        host: where to listen; empty for every interface.
        port: where to listen; 0 for any that is free.
        tls: None for plain HTTP.

    Raises:
        ConfigError: the address is taken or is not this machine's, or the TLS files can't be used.
    """
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
    config.load()
    connections = Connections(ConnectionLimits(max_connections=64), config)
    options: dict[str, Any] = {}
    with starting(section, f"{host}:{port}"):
        if tls:
            options = {"ssl": server_ssl_context(tls), "ssl_handshake_timeout": 10.0, "ssl_shutdown_timeout": 10.0}
        sockets = bind(host, port)
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda: Connection(connections), sock=listener, **options) for listener in sockets
    ]
    try:
        yield sockets[0].getsockname()[1]
    finally:
        for server in servers:
            server.close()
        for connection in list(connections.state.connections):
            connection.shutdown()


def page_app(answer: Callable[[str], Page]) -> App:
    """Return an application that answers GET and HEAD by the path alone."""

    async def app(scope: dict[str, Any], _receive: Any, send: Callable[..., Awaitable[None]]) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] in ("GET", "HEAD"):
            status, kind, body = answer(scope["path"])
        else:
            status, kind, body = 405, TEXT, b"only GET\n"
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app
