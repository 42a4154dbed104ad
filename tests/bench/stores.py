"""From a client's OTLP request to the last span committed in MLflow, beside MLflow's own endpoint, in one run.

Each way writes the bench mix (`tests.traces`) into an experiment or database of its own; the ways take turns within a
round, and the figures are medians over rounds. A way's clock starts with its first request and stops when the store
holds every span, which is read off its tables; a trace search then has to find them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path

import grpc
from mlflow import MlflowClient
from sqlalchemy import create_engine, text

from processors.types import Batch, Trace
from tests.bench.load import EXPORT
from tests.mlflow_servers import mlflow_server
from tests.polling import until_sync
from tests.postgres import cluster
from tests.program import POOL, Ports, Program, configuration
from tests.traces import batch, bench_trace

ROUNDS = 3
SPANS = 8
PROCESSORS = {"genai": {}, "groupbytrace": {"wait_duration_after_root_received": "100ms"}, "tag_schema": {}}
_numbers = count(1)


@dataclass
class Store:
    """A tracking database and the MLflow server in front of it."""

    database: str
    server: str

    def spans(self) -> int:
        """How many spans the database holds."""
        engine = create_engine(self.database)
        try:
            with engine.connect() as connection:
                return int(connection.execute(text("SELECT count(*) FROM spans")).scalar_one())
        finally:
            engine.dispose()

    def found(self, experiment: str) -> int:
        """How many traces of an experiment a search finds (500 at most)."""
        client = MlflowClient(self.server)
        experiment_id = client.get_experiment_by_name(experiment).experiment_id
        return len(client.search_traces(locations=[experiment_id], max_results=500, include_spans=False))


@contextmanager
def store(kind: str) -> Iterator[Store]:
    """An MLflow server on a throwaway database."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if kind == "postgresql":
            database = stack.enter_context(cluster()).database("bench")
            options = ["--backend-store-uri", database]
        else:
            database, options = f"sqlite:///{folder / 'mlflow.db'}", []
        yield Store(database, stack.enter_context(mlflow_server(folder, *options)))


def requests(traces: Sequence[Trace], spans: int) -> list[bytes]:
    """The traces as requests of `spans` spans, cut where they happen to end, as a BatchSpanProcessor does."""
    size = spans // SPANS
    return [batch(traces[start : start + size]).SerializeToString() for start in range(0, len(traces), size)]


def to_bridge(port: int, payloads: Sequence[bytes]) -> None:
    """Send over OTLP/gRPC and wait for each OK."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_send_message_length", -1)]) as channel:
        call = channel.unary_unary(EXPORT)
        for payload in payloads:
            call(payload, timeout=60)


def to_mlflow(server: str, experiment: str, payloads: Sequence[bytes]) -> None:
    """Post to MLflow's own endpoint, four requests at a time."""
    client = MlflowClient(server)
    experiment_id = client.create_experiment(experiment)
    headers = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": experiment_id}

    def post(payload: bytes) -> None:
        answer = POOL.request("POST", f"{server}/v1/traces", body=payload, headers=headers, timeout=120)
        assert answer.status == 200, answer.data[:200]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(post, payloads))


@contextmanager
def bridge(uri: str, experiment: str) -> Iterator[int]:
    """The program in front of a tracking URI; its gRPC port."""
    with tempfile.TemporaryDirectory() as folder:
        ports = Ports()
        mlflow = {"tracking_uri": uri, "experiment": experiment}
        config = configuration(ports, Path(folder), mlflow, processors=PROCESSORS)
        with Program(config, Path(folder), ports):
            yield ports.grpc


def timed(store_: Store, traces: Sequence[Trace], send: Callable[[], None], experiment: str) -> float:
    """Spans a second from the first request until the store has them all."""
    before, spans = store_.spans(), len(traces) * SPANS
    started = time.perf_counter()
    send()
    until_sync(lambda: store_.spans() - before >= spans, seconds=300, what="the last span")
    seconds = time.perf_counter() - started
    assert store_.found(experiment) >= min(len(traces), 500)
    return spans / seconds


def through_bridge(store_: Store, uri: str, traces: Sequence[Trace]) -> float:
    experiment = f"bridge {next(_numbers)}"
    with bridge(uri, experiment) as port:
        to_bridge(port, requests(_fresh(8), 8))  # the first trace makes the experiment and loads what loads late
        until_sync(lambda: _exists(store_, experiment), what="the experiment")
        payloads = requests(traces, 512)
        return timed(store_, traces, lambda: to_bridge(port, payloads), experiment)


def _exists(store_: Store, experiment: str) -> bool:
    found = MlflowClient(store_.server).get_experiment_by_name(experiment)
    return found is not None and store_.found(experiment) > 0


def _fresh(number: int) -> list[Trace]:
    start = next(_numbers) * 1_000_000
    return [bench_trace(start + index) for index in range(number)]


def measure(kind: str, traces: int) -> dict[str, float]:
    """Medians by way, in spans a second."""
    results: dict[str, list[float]] = defaultdict(list)
    with store(kind) as store_:
        for _ in range(ROUNDS):
            for size in (1, 16, 64):
                few = _fresh(max(64, traces // 10))
                name = f"own {next(_numbers)}"
                payloads = requests(few, size * SPANS)
                send = lambda name=name, payloads=payloads: to_mlflow(store_.server, name, payloads)  # noqa: E731
                results[f"MLflow /v1/traces, {size} traces a request"].append(timed(store_, few, send, name))
            results[f"bridge -> {kind}"].append(through_bridge(store_, store_.database, _fresh(traces)))
            few = _fresh(max(128, traces // 5))
            results["bridge -> tracking server"].append(through_bridge(store_, store_.server, few))
            results["plain forwarder -> tracking server"].append(_forwarded(store_, few=_fresh(max(128, traces // 5))))
    return {way: statistics.median(rates) for way, rates in results.items()}


def _forwarded(store_: Store, few: Sequence[Trace]) -> float:
    """What a forwarder without assembly posts: 512-span requests that begin and end in the middle of traces."""
    spans = Batch()
    for trace in few:
        spans.MergeFrom(trace.batch)
    flat = [(rs.resource, span) for rs in spans.resource_spans for ss in rs.scope_spans for span in ss.spans]
    cuts = [0, 508, *range(1020, len(flat), 512), len(flat)]
    payloads = []
    for start, end in pairwise(cuts):
        request = Batch()
        for resource, span in flat[start:end]:
            made = request.resource_spans.add()
            made.resource.CopyFrom(resource)
            made.scope_spans.add().spans.append(span)
        payloads.append(request.SerializeToString())
    name = f"forwarder {next(_numbers)}"
    return timed(store_, few, lambda: to_mlflow(store_.server, name, payloads), name)
