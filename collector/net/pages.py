"""The pages for operators: /metrics, and health for the orchestrator. None of them asks MLflow anything."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import uvicorn
from prometheus_client import CollectorRegistry

from spanbridge.collector.net.http_connection import Connection, Connections
from spanbridge.collector.net.limits import ConnectionLimits
from spanbridge.collector.net.listening import bind, starting
from spanbridge.collector.net.tls import TlsServerConfig, server_ssl_context
from spanbridge.collector.telemetry.metrics import render

App: TypeAlias = Callable[
    [dict[str, Any], Callable[..., Awaitable[Any]], Callable[..., Awaitable[None]]], Awaitable[None]
]

TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Health:
    """Whether the program is alive (it answers) and ready (it can accept).

    `ready` is true from the moment that every receiver listens until shutdown begins; a full journal or a missing
    MLflow leaves it true, for a restart would mend neither.
    """

    ready: bool = False
    started: float = field(default_factory=time.time)


@asynccontextmanager
async def serve(app: App, section: str, host: str, port: int, tls: TlsServerConfig | None = None) -> AsyncIterator[int]:
    """Serve an application while the context lasts; yields the port.

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


def metrics_app(registry: CollectorRegistry, *, total_suffix: bool) -> App:
    """Serves /metrics."""

    def answer(path: str) -> tuple[int, str, bytes]:
        if path.rstrip("/") in ("/metrics", ""):
            return 200, TEXT, render(registry, total_suffix=total_suffix)
        return 404, TEXT, b"not found; the metrics are at /metrics\n"

    return _app(answer)


def health_app(health: Health, path: str, healthy: str = "", unhealthy: str = "") -> App:
    """Serves readiness on `path` (and /readyz), liveness on /livez, in the health_check extension's JSON."""

    def answer(asked: str) -> tuple[int, str, bytes]:
        if asked == "/livez":
            return 200, "application/json", b'{"status":"alive"}'
        if asked not in (path, "/readyz"):
            return 404, TEXT, b"not found\n"
        own = healthy if health.ready else unhealthy
        if own:
            return (200 if health.ready else 503), TEXT, own.encode()
        return (200 if health.ready else 503), "application/json", _status(health)

    return _app(answer)


def _status(health: Health) -> bytes:
    up = time.time() - health.started
    if not health.ready:
        return b'{"status":"Server not available"}'
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(health.started))
    return json.dumps({"status": "Server available", "upSince": since, "uptime": f"{up:.1f}s"}).encode()


def _app(answer: Callable[[str], tuple[int, str, bytes]]) -> App:
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
