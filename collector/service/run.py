"""Step 6 from YAML to running code: start everything, downstream first; stop it at a signal, upstream first."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext

from prometheus_client import CollectorRegistry

from spanbridge.collector.config.loading import Config
from spanbridge.collector.service.admin import start_admin
from spanbridge.collector.service.pipeline import start_logs, start_receiver, start_traces
from spanbridge.collector.service.service import Service
from spanbridge.collector.telemetry import allocator, logs
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.collector.telemetry.process_metrics import ProcessMetrics
from spanbridge.collector.version import version_string

log = logging.getLogger(__name__)

ONE_SIGNAL = 1.0
"""Seconds within which signals are one: a shell, make and a supervisor may each pass the same one on."""
SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that prepares a delivery gives way to the event loop, where senders wait for OK."""


def run(config: Config, *, beside: AbstractAsyncContextManager[object] | None = None, greeting: str = "") -> None:
    """Run until SIGTERM or SIGINT; a second signal gives up waiting for what is still under way.

    Does not return: a send that hangs in its thread must not hold the process beyond its grace period.

    Args:
        config: what to run.
        beside: lives as long as the service.
        greeting: is printed when it is ready.

    Raises:
        ConfigError: a port is taken, a journal is in use, a file can't be read.
    """
    allocator.keep_little()
    sys.setswitchinterval(SWITCH_INTERVAL)
    logs.configure(config.service.telemetry.logs.severity, config.service.telemetry.logs.encoding)
    for warning in config.warnings:
        log.warning("config: %s", warning)
    code = 0
    try:
        asyncio.run(_until_signalled(config, beside or nullcontext(), greeting))
    except asyncio.CancelledError:
        code = 1
    except BaseExceptionGroup as group:
        raise _first(group) from group
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def _until_signalled(config: Config, beside: AbstractAsyncContextManager[object], greeting: str) -> None:
    stop = asyncio.Event()
    _on_signals(stop, asyncio.current_task())
    async with beside, running(config):
        log.info("everything is ready; %s", _summary(config))
        if greeting:
            sys.stdout.write(greeting + "\n")
            sys.stdout.flush()
        await stop.wait()
        log.info("shutting down: no more is taken in, what is here is delivered")


def _on_signals(stop: asyncio.Event, task: asyncio.Task[object] | None) -> None:
    """At the first signal set `stop`; at another one later on cancel the task."""
    loop = asyncio.get_running_loop()
    stopped_at = float("inf")

    def on_signal() -> None:
        nonlocal stopped_at
        if not stop.is_set():
            stopped_at = loop.time()
            stop.set()
        elif task is not None and loop.time() - stopped_at > ONE_SIGNAL:
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Service]:
    """Run the whole service: ready when the block begins, drained and stopped when it is left.

    Raises:
        ConfigError: a port is taken, a journal is in use, a file can't be read.
    """
    async with AsyncExitStack() as stack:
        service = Service(config, Telemetry(CollectorRegistry()), stack)
        service.telemetry.registry.register(ProcessMetrics(version_string()))
        await start_admin(service)
        for pipeline in config.pipelines.values():
            if pipeline.signal == "traces":
                await start_traces(service, pipeline)
        for pipeline in config.pipelines.values():
            if pipeline.signal == "logs":
                await start_logs(service, pipeline)
        for receiver_id in dict.fromkeys(receiver for receiver, _ in service.accepts):
            await start_receiver(service, receiver_id)
        allocator.give_back()
        service.health.ready = True
        try:
            yield service
        finally:
            service.health.ready = False


def _summary(config: Config) -> str:
    pipelines = (f"{p.id}: {_ids(p.receivers)} -> {_ids(p.exporters)}" for p in config.pipelines.values())
    return "; ".join(pipelines)


def _ids(ids: Iterable[str]) -> str:
    return ", ".join(ids)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first plain exception of a group: what a person has to mend."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
