"""Destinations that behave as they are told, one for each exporter: what they took, how often and in which order."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal

import grpc
import urllib3

from spanbridge.collector.errors import Busy, Invalid, Permanent, Retryable
from spanbridge.collector.exporters.mlflow.exporter import MlflowSpanExporter
from spanbridge.collector.exporters.otlp.exporter import OtlpGrpcExporter, OtlpHttpExporter
from spanbridge.processors.types import Batch, Trace, spans
from tests.fakes import Answer, MemoryExporter, Seen, http_server
from tests.samples.otlp_requests import grpc_config, http_config, serving

Deed = Literal["take", "refuse for now", "refuse", "take and deny", "hang"]
TIMEOUT = 0.25
"""Seconds that the exporters wait for an answer."""


class Downstream:
    """What a destination has; `deeds` says what it does with the next request, `refuses` is a trace it never takes."""

    def __init__(self, deeds: Callable[[], Deed] = lambda: "take", refuses: bytes = b"") -> None:
        self._deeds = deeds
        self._refuses = refuses
        self._lock = threading.Lock()
        self.over = threading.Event()
        self.taken: Counter[tuple[bytes, bytes]] = Counter()
        self.first: dict[bytes, list[str]] = {}
        self.done: Counter[Deed] = Counter()

    def deed(self, batches: Sequence[Batch]) -> Deed:
        """Take the spans or not, and say how to answer."""
        with self._lock:
            deed = self._deeds()
            if any(span.trace_id == self._refuses for batch in batches for span in spans(batch)):
                deed = "refuse"
            self.done[deed] += 1
            if deed in ("take", "take and deny"):
                for batch in batches:
                    for span in spans(batch):
                        if (span.trace_id, span.span_id) not in self.taken:
                            self.first.setdefault(span.trace_id, []).append(span.name)
                        self.taken[(span.trace_id, span.span_id)] += 1
        return deed


def weighted(seed: int, **chances: float) -> Callable[[], Deed]:
    """Deeds at random, names with _ for blanks; what is left of the chances is `take`."""
    dice = random.Random(seed)

    def deed() -> Deed:
        point = dice.random()
        for name, chance in chances.items():
            if point < chance:
                return name.replace("_", " ")  # type: ignore[return-value]
            point -= chance
        return "take"

    return deed


@asynccontextmanager
async def memory(downstream: Downstream):
    def verdict(traces: Sequence[Trace]) -> None:
        match downstream.deed([trace.batch for trace in traces]):
            case "refuse for now" | "take and deny":
                raise Retryable("not now")
            case "refuse":
                raise Permanent("I don't like it")
            case "hang":
                downstream.over.wait(TIMEOUT)
                raise Retryable("timed out")

    yield MemoryExporter(verdict)


async def _accept(downstream: Downstream, request: Batch) -> None:
    match downstream.deed([request]):
        case "refuse for now" | "take and deny":
            raise Busy("not now", 0.001)
        case "refuse":
            raise Invalid("I don't like it")
        case "hang":
            await asyncio.sleep(4 * TIMEOUT)  # longer than the exporter waits


@asynccontextmanager
async def otlp_grpc(downstream: Downstream):
    """A real receiver, and the exporter to it."""
    async with serving(grpc_config(), sink=lambda request, _: _accept(downstream, request), grace=0) as served:
        channel = grpc.insecure_channel(f"127.0.0.1:{served.port}")
        yield OtlpGrpcExporter(channel, timeout=TIMEOUT, headers={}, compression="gzip")


@asynccontextmanager
async def otlp_http(downstream: Downstream):
    """A real receiver, and the exporter to it."""
    async with serving(http_config(), sink=lambda request, _: _accept(downstream, request), grace=0) as served:
        pool = urllib3.PoolManager(maxsize=4, retries=False, timeout=TIMEOUT)
        yield OtlpHttpExporter(pool, f"http://127.0.0.1:{served.port}/v1/traces", headers={}, compression="gzip")


STATUS: dict[Deed, int] = {"take": 200, "refuse for now": 503, "refuse": 422, "take and deny": 500, "hang": 504}
EXPERIMENT = {"experiment_id": "7", "name": "Default", "lifecycle_stage": "active"}
INFO = {"experiment_id": "7", "timestamp_ms": 0, "status": "OK"}
REST = {"experiment": EXPERIMENT, "trace_info": INFO}
"""What MLflow answers to all that is not /v1/traces, in one."""


@asynccontextmanager
async def mlflow(downstream: Downstream):
    """A server that answers as MLflow does, and the exporter to it."""

    def respond(seen: Seen) -> Answer:
        if not seen.path.endswith("/v1/traces"):
            return Answer(200, REST)
        deed = downstream.deed([Batch.FromString(seen.body)])
        if deed == "hang":
            time.sleep(2 * TIMEOUT)  # longer than the exporter waits
        return Answer(STATUS[deed], {"detail": deed})

    with http_server(respond) as address:
        yield MlflowSpanExporter(address, experiment="Default", timeout=TIMEOUT, environ={})


DOWNSTREAMS = {"memory": memory, "otlp_grpc": otlp_grpc, "otlp_http": otlp_http, "mlflow": mlflow}
