"""From the `health_check` section to its page. It asks nothing of MLflow: an outage is no reason to be restarted."""

from __future__ import annotations

import json
import time
from contextlib import AbstractAsyncContextManager, nullcontext

from spanbridge.collector.extensions import ExtensionContext, Health
from spanbridge.collector.extensions.health_check.config import HealthCheckConfig
from spanbridge.collector.net.pages import TEXT, App, Page, page_app, serve
from spanbridge.collector.settings import host_and_port


def build(config: HealthCheckConfig, context: ExtensionContext) -> AbstractAsyncContextManager[object]:
    """Return the server of a section, or what does nothing if its page is switched off."""
    if config.status_path is None:
        return nullcontext()
    body = config.response_body
    app = health_app(context.health, config.status_path, body.healthy, body.unhealthy)
    return serve(app, f"extensions::{context.id}", *host_and_port(config.listen), config.listen_tls)


def health_app(health: Health, path: str, healthy: str = "", unhealthy: str = "") -> App:
    """Return an application with readiness on `path` (and /readyz), liveness on /livez, in the extension's JSON.

    Args:
        health: what is told.
        path: where readiness is told.
        healthy: a text in place of the JSON while ready.
        unhealthy: a text in place of the JSON while not.
    """

    def answer(asked: str) -> Page:
        if asked == "/livez":
            return 200, "application/json", b'{"status":"alive"}'
        if asked not in (path, "/readyz"):
            return 404, TEXT, b"not found\n"
        status, own = (200, healthy) if health.ready else (503, unhealthy)
        if own:
            return status, TEXT, own.encode()
        return status, "application/json", _status(health)

    return page_app(answer)


def _status(health: Health) -> bytes:
    up = time.time() - health.started
    if not health.ready:
        return b'{"status":"Server not available"}'
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(health.started))
    return json.dumps({"status": "Server available", "upSince": since, "uptime": f"{up:.1f}s"}).encode()
