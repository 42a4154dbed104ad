"""What serves operators and orchestrators: /metrics, and the extensions that run by themselves."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from spanbridge.collector.config.components import has_role
from spanbridge.collector.net.pages import TEXT, App, Page, page_app, serve
from spanbridge.collector.service.service import Service
from spanbridge.collector.telemetry.metrics import render


async def start_admin(service: Service) -> None:
    """Serve /metrics, and start the extensions that are servers.

    Raises:
        ConfigError: a port is taken, or a file that a section names can't be used.
    """
    endpoint = service.config.service.telemetry.metrics.endpoint
    if endpoint is not None:
        app = metrics_app(service.telemetry.registry, total_suffix=endpoint.total_suffix)
        await service.stack.enter_async_context(serve(app, "service::telemetry::metrics", endpoint.host, endpoint.port))
    for extension in service.config.service.extensions:
        if has_role("extension", extension, "server"):
            await service.stack.enter_async_context(service.extension(extension))


def metrics_app(registry: CollectorRegistry, *, total_suffix: bool) -> App:
    """Return an application that serves /metrics; `total_suffix` says whether counters end in `_total`."""

    def answer(path: str) -> Page:
        if path.rstrip("/") in ("/metrics", ""):
            return 200, TEXT, render(registry, total_suffix=total_suffix)
        return 404, TEXT, b"not found; the metrics are at /metrics\n"

    return page_app(answer)
