"""Builds everything from the config, starts downstream first and stops upstream first.

The only file that knows all others: a list of steps, with one short builder for each kind of component.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from spanbridge.collector.cli import main as cli
from spanbridge.collector.config.components import split_id
from spanbridge.collector.config.loading import Config
from spanbridge.collector.config.pipelines import PipelineConfig
from spanbridge.collector.endpoint import host_and_port
from spanbridge.collector.errors import ConfigError
from spanbridge.collector.exporters.build import build_exporter
from spanbridge.collector.exporters.config import RetryConfig, SendingQueueConfig
from spanbridge.collector.exporters.mlflow.config import MlflowExporterConfig
from spanbridge.collector.exporters.mlflow.settings import scheme_of
from spanbridge.collector.extensions.authentication.basic_auth import BasicAuthConfig, basic_auth
from spanbridge.collector.extensions.authentication.bearer_token import BearerTokenAuthConfig, bearer_token
from spanbridge.collector.extensions.config import FileStorageConfig, HealthCheckConfig
from spanbridge.collector.flow.assembly import Assembly
from spanbridge.collector.flow.backoff import Backoff
from spanbridge.collector.flow.delivery import Delivery, DeliveryOptions
from spanbridge.collector.flow.flow import Flow, FlowOptions
from spanbridge.collector.flow.head import Head, HeadStage, fan_out
from spanbridge.collector.flow.processors.log_selection import LogSelection
from spanbridge.collector.flow.processors.memory_limiter import MIB, total_memory
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.flow.send_queue import SendLimits
from spanbridge.collector.journal import DeadLetterLimits, Journal
from spanbridge.collector.journal.memory import MemoryJournal
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.collector.journal.sqlite.paths import journal_path
from spanbridge.collector.receivers import Accept, Authenticate
from spanbridge.collector.receivers.otlp import grpc_server, http_server
from spanbridge.collector.receivers.otlp.config import OtlpReceiverConfig, ServerConfig
from spanbridge.collector.receivers.otlp.intake import Receiver
from spanbridge.collector.service.pages import Health, health_app, metrics_app, serve
from spanbridge.collector.service.stages import Plan, add_stages
from spanbridge.collector.telemetry import allocator, logs
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.collector.telemetry.process_metrics import ProcessMetrics
from spanbridge.processors.settings import ConfigModel

log = logging.getLogger(__name__)

ONE_SIGNAL = 1.0
"""Seconds within which signals are one: a shell, make and a supervisor may each pass the same one on."""
SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that prepares a delivery gives way to the event loop, where senders wait for OK."""
MEMORY = 128 * MIB
"""Bytes of spans that one pipeline holds in memory; what is more waits in its journal."""
SAMPLING_SHARE = 3
"""With tail_sampling it may hold this part of the memory there is, if that is more: pending traces are bounded by
num_traces in the first place, and half a million spans of 0.8 KB should fit where there is 1.2 GiB. Resident they take
half as much again."""
ASIDE_SHARE = 4
"""Of a journal this part may hold what MLflow refused: it must not fill up with that, and shut everybody out."""
MLFLOW_SEND = SendLimits(max_traces=64, max_spans=2048)
"""MLflow's cost is per trace, and a send has to end well within its timeout in the slowest of stores."""
DATABASE_SEND = SendLimits(max_traces=256, max_spans=2048)
"""A transaction costs the same for few traces as for many."""
SQLITE_SEND = SendLimits(max_traces=768, max_spans=6144)
"""Each transaction writes every page it touches twice, and ids fall into any page of an index: the larger the file, the
fewer of them share one, unless there are more in a transaction."""
SENDS = {"sqlite": SQLITE_SEND, "postgresql": DATABASE_SEND, "mysql": DATABASE_SEND}
"""By the scheme of a tracking URI; all others are servers."""
FORWARD_SEND = SendLimits(max_traces=8192, max_spans=8192)
"""The Collector's send_batch_size."""


def run(config: Config, *, beside: AbstractAsyncContextManager[object] | None = None, greeting: str = "") -> None:
    """Run until SIGTERM or SIGINT; a second signal gives up waiting for what is still under way.

    `beside` lives as long as the service, `greeting` is printed when it is ready. Does not return: a send that hangs
    in its thread must not hold the process beyond its grace period.
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
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
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
    async with beside, running(config):
        log.info("everything is ready; %s", _summary(config))
        if greeting:
            sys.stdout.write(greeting + "\n")
            sys.stdout.flush()
        await stop.wait()
        log.info("shutting down: no more is taken in, what is here is delivered")


@dataclass(slots=True)
class Service:
    """What the steps of a start hand to one another; `accepts` are by receiver id and signal."""

    config: Config
    telemetry: Telemetry
    stack: AsyncExitStack
    journals: dict[str, Journal] = field(default_factory=dict)
    accepts: dict[tuple[str, str], list[Accept]] = field(default_factory=dict)


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Service]:
    """The whole service: ready when the block begins, drained and stopped when it is left.

    Raises:
        ConfigError: a port is taken, a journal is in use, a file can't be read.
    """
    telemetry = Telemetry(CollectorRegistry())
    telemetry.registry.register(ProcessMetrics(cli.version_string()))
    health = Health()
    async with AsyncExitStack() as stack:
        service = Service(config, telemetry, stack)
        await _start_admin(service, health)
        for pipeline in config.pipelines.values():
            if pipeline.signal == "traces":
                await _start_traces(service, pipeline)
        for pipeline in config.pipelines.values():
            if pipeline.signal == "logs":
                await _start_logs(service, pipeline)
        for receiver_id in dict.fromkeys(receiver for receiver, _ in service.accepts):
            await _start_receiver(service, receiver_id)
        allocator.give_back()
        health.ready = True
        try:
            yield service
        finally:
            health.ready = False


async def _start_admin(service: Service, health: Health) -> None:
    endpoint = service.config.service.telemetry.metrics.endpoint
    if endpoint is not None:
        app = metrics_app(service.telemetry.registry, total_suffix=endpoint.total_suffix)
        await service.stack.enter_async_context(serve(app, "service::telemetry::metrics", endpoint.host, endpoint.port))
    for extension in service.config.service.extensions:
        config = service.config.extensions[extension]
        if isinstance(config, HealthCheckConfig) and config.status_path is not None:
            body = config.response_body
            app = health_app(health, config.status_path, body.healthy, body.unhealthy)
            await service.stack.enter_async_context(
                serve(app, f"extensions::{extension}", *host_and_port(config.listen), config.listen_tls)
            )


async def _start_traces(service: Service, pipeline: PipelineConfig) -> None:
    journal = await _open_journal(service, pipeline)
    made = _plan(service, pipeline, ReleasedTraces(journal.released()))
    assembly = Assembly(made.assembly, made.remembered)
    memory = MEMORY if made.sampling is None else max(MEMORY, total_memory() // SAMPLING_SHARE)
    options = FlowOptions(memory, made.sampling, _takes_logs(service, pipeline))
    flow = Flow(
        pipeline.id,
        journal,
        assembly,
        made.trace,
        telemetry=service.telemetry,
        released_traces=made.remembered,
        options=options,
    )
    for exporter_id in pipeline.exporters:
        flow.deliver_to(_delivery(service, exporter_id, made, flow))
    _watch(service, pipeline, journal, assembly)
    if made.sampling is not None:
        service.telemetry.traces_on_memory.set_function(lambda: len(assembly))
    await service.stack.enter_async_context(flow.running(service.config.service.shutdown_timeout))
    await _add_head(service, pipeline, made, journal)


async def _start_logs(service: Service, pipeline: PipelineConfig) -> None:
    """Log records go the way of the traces that they belong to: into the journal of the pipeline that ends alike."""
    partner = next(
        other
        for other in service.config.pipelines.values()
        if other.signal == "traces" and set(other.exporters) & set(pipeline.exporters)
    )
    made = _plan(service, pipeline, ReleasedTraces())
    add_stages(made, _redactions_of(service, partner, besides=pipeline))
    made.head.insert(0, HeadStage("genai", LogSelection(service.telemetry)))
    await _add_head(service, pipeline, made, service.journals[partner.id])


def _redactions_of(
    service: Service, partner: PipelineConfig, *, besides: PipelineConfig
) -> list[tuple[str, ConfigModel]]:
    """What is masked in spans is masked in the log records that end up in them, even if their pipeline is silent."""
    ids = [id_ for id_ in partner.processors if split_id("processor", id_).type == "redaction"]
    return [(id_, service.config.processors[id_]) for id_ in ids if id_ not in besides.processors]


def _takes_logs(service: Service, pipeline: PipelineConfig) -> bool:
    others = service.config.pipelines.values()
    return any(other.signal == "logs" and set(other.exporters) & set(pipeline.exporters) for other in others)


def _plan(service: Service, pipeline: PipelineConfig, remembered: ReleasedTraces) -> Plan:
    made = Plan(service.telemetry, remembered, os.environ)
    return add_stages(made, [(id_, service.config.processors[id_]) for id_ in pipeline.processors])


async def _add_head(service: Service, pipeline: PipelineConfig, made: Plan, journal: Journal) -> None:
    for limiter in made.limiters:
        await service.stack.enter_async_context(limiter.running())
    head = Head(made.head, journal, service.telemetry)
    for receiver in pipeline.receivers:
        service.accepts.setdefault((receiver, pipeline.signal), []).append(head.accept)


async def _open_journal(service: Service, pipeline: PipelineConfig) -> Journal:
    capacity = pipeline.journal.capacity
    dead_letter_limits, on_dropped = DeadLetterLimits(bytes=capacity // ASIDE_SHARE), _on_dropped(service, pipeline)
    if pipeline.journal.storage:
        storage = service.config.extensions[pipeline.journal.storage]
        assert isinstance(storage, FileStorageConfig)  # noqa: S101  wiring has seen to it
        journal: SqliteJournal | MemoryJournal = SqliteJournal(
            _journal_path(storage, pipeline),
            capacity=capacity,
            dead_letter_limits=dead_letter_limits,
            fsync=storage.fsync,
            on_corrupt=_on_corrupt(service, pipeline),
            on_dropped=on_dropped,
        )
    else:
        journal = MemoryJournal(capacity, dead_letter_limits=dead_letter_limits, on_dropped=on_dropped)
    service.journals[pipeline.id] = await service.stack.enter_async_context(journal)
    return journal


def _on_corrupt(service: Service, pipeline: PipelineConfig) -> Callable[[Path], None]:
    corrupt = service.telemetry.journal_corrupt.labels(pipeline.id)

    def tell(place: Path) -> None:
        corrupt.inc()
        log.error("the journal of %s was damaged; what can't be read of it is kept in %s", pipeline.id, place)

    return tell


def _on_dropped(service: Service, pipeline: PipelineConfig) -> Callable[[int], None]:
    dropped = service.telemetry.aside_dropped.labels(pipeline.id)

    def tell(rows: int) -> None:
        dropped.inc(rows)
        log.error("%s: %d batches that were set aside are lost: too many came after them", pipeline.id, rows)

    return tell


def _journal_path(storage: FileStorageConfig, pipeline: PipelineConfig) -> Path:
    directory = Path(storage.directory)
    try:
        if storage.create_directory:
            directory.mkdir(mode=storage.mode, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([f"extensions::file_storage::directory: can't make {directory}: {error.strerror}"]) from None
    if not directory.is_dir():
        raise ConfigError(
            [f"extensions::file_storage::directory: {directory} must exist; make it, or set create_directory: true"]
        )
    return journal_path(storage.directory, pipeline.id)


def _delivery(service: Service, exporter_id: str, made: Plan, flow: Flow) -> Delivery:
    config = service.config.exporters[exporter_id]
    exporter = build_exporter(config, os.environ)
    queue = getattr(config, "sending_queue", SendingQueueConfig())
    retry = getattr(config, "retry_on_failure", RetryConfig())
    backoff = Backoff(retry.initial_interval, retry.max_interval, retry.multiplier, retry.randomization_factor)
    limits = made.send_limits(_usual_send(config))
    consumers = config.consumers if isinstance(config, MlflowExporterConfig) else queue.num_consumers
    options = DeliveryOptions(consumers, 4 * limits.max_spans, limits, backoff)
    return Delivery(exporter_id, exporter, options, service.telemetry, flow.settled)


def _usual_send(config: ConfigModel) -> SendLimits:
    if not isinstance(config, MlflowExporterConfig):
        return FORWARD_SEND
    return SENDS.get(scheme_of(config.tracking_uri), MLFLOW_SEND)


def _watch(service: Service, pipeline: PipelineConfig, journal: Journal, assembly: Assembly) -> None:
    """Gauges that are read when they are scraped."""
    telemetry = service.telemetry
    telemetry.journal_bytes.labels(pipeline.id).set_function(lambda: journal.state().bytes)
    telemetry.journal_capacity.labels(pipeline.id).set_function(lambda: journal.state().capacity)
    telemetry.journal_oldest.labels(pipeline.id).set_function(lambda: journal.state().oldest_age)
    telemetry.journal_aside.labels(pipeline.id).set_function(lambda: journal.state().dead_letters)
    telemetry.assembling_traces.labels(pipeline.id).set_function(lambda: len(assembly))
    telemetry.assembling_spans.labels(pipeline.id).set_function(lambda: assembly.spans)
    for exporter in pipeline.exporters:
        telemetry.queue_size.labels(exporter, "traces").set_function(lambda: journal.state().bytes)
        telemetry.queue_capacity.labels(exporter, "traces").set_function(lambda: journal.state().capacity)


async def _start_receiver(service: Service, receiver_id: str) -> None:
    config = service.config.receivers[receiver_id]
    assert isinstance(config, OtlpReceiverConfig)  # noqa: S101  the only receiver there is
    traces = service.accepts.get((receiver_id, "traces"))
    logs_ = service.accepts.get((receiver_id, "logs"))

    def receiver(protocol: ServerConfig) -> Receiver:
        return Receiver(
            receiver_id,
            service.telemetry,
            traces=fan_out(traces or []),
            logs=fan_out(logs_) if logs_ else None,
            authenticate=_authenticate(service, protocol),
            max_value=config.attribute_value_length_limit,
            counts=config.counts,
            max_items=config.max_request_items,
        )

    if config.protocols.grpc is not None:
        grpc = config.protocols.grpc
        await service.stack.enter_async_context(grpc_server.serve(grpc, receiver(grpc)))
    if config.protocols.http is not None:
        http = config.protocols.http
        await service.stack.enter_async_context(http_server.serve(http, receiver(http)))


def _authenticate(service: Service, protocol: ServerConfig) -> Authenticate | None:
    if protocol.auth is None:
        return None
    extension = protocol.auth.authenticator
    config = service.config.extensions[extension]
    if isinstance(config, BearerTokenAuthConfig):
        return bearer_token(config, f"extensions::{extension}")
    assert isinstance(config, BasicAuthConfig)  # noqa: S101  wiring has seen to it
    return basic_auth(config, f"extensions::{extension}")


def _summary(config: Config) -> str:
    pipelines = (f"{p.id}: {_ids(p.receivers)} -> {_ids(p.exporters)}" for p in config.pipelines.values())
    return "; ".join(pipelines)


def _ids(ids: Iterable[str]) -> str:
    return ", ".join(ids)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first plain exception of a group: what a person has to mend."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
