"""From a client's OTLP request to the last span committed in MLflow, beside MLflow's own endpoint, in one run.

Each way writes the bench mix (`tests.samples.traces`); the ways take turns within a round, and rates and ratios are
medians over rounds. What goes to the MLflow server has an experiment of its own in the server's database. Ready rows,
and the bridge that writes to a database, have a new one each time, so that rounds are alike. A way's clock starts with
its first request and stops when the store holds every span, which is read off its tables; a trace search then has to
find every trace.

`MLFLOW_WORKERS` is how many workers the MLflow server gets: 1 unless it is set, where `mlflow server` would start 4.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TypeAlias

import grpc
import urllib3
from mlflow import MlflowClient
from sqlalchemy import Engine, create_engine, text

from spanbridge.collector.exporters.mlflow.database.bulk import NewTrace
from spanbridge.collector.exporters.mlflow.database.bulk.foreign_keys import FIRST_WITH_GRANTS
from spanbridge.collector.exporters.mlflow.record.record import Recorder, TraceRecord
from spanbridge.collector.exporters.mlflow.server.tracking_server import encode
from spanbridge.collector.exporters.mlflow.settings import RESOURCE_TAGS
from spanbridge.processors.genai import GenAi, GenAiConfig, GenAiTrace
from spanbridge.processors.tag_schema import TagSchema, TagSchemaConfig
from spanbridge.processors.types import Trace
from tests.bench import bulk_rows, otelcol
from tests.bench.load import EXPORT
from tests.bench.requests import SPANS, as_they_end, one_after_the_other, whole
from tests.integration.mlflow.bulk.stores import Databases
from tests.samples.reading import traces as search
from tests.samples.traces import bench_trace
from tests.servers.mlflow_servers import mlflow_server
from tests.servers.postgres import Cluster, cluster
from tests.servers.program import Ports, Program, configuration

ROUNDS = 3
WORKERS = os.environ.get("MLFLOW_WORKERS", "1")
OWN, SERVER, DATABASE = 384, 512, 10_000
"""Traces a round: through MLflow's endpoint, through it from the bridge or a forwarder, into a database."""
PATIENCE = 60
"""Seconds for which whoever counts waits for SQLite's lock, which writers may keep for seconds."""
LONGEST_WAIT, LONGEST_LOOK, SHORTEST_LOOK = 300, 2, 0.05
"""Seconds: for all traces, and between two looks whether they are there."""
LOG_SEGMENTS = 64
"""Of PostgreSQL's log, 16 MB each, that are there when the clocks start."""
ATTEMPTS = 10
"""To post a request."""
TOGETHER = 250
"""Traces in a transaction of ready rows."""
PROCESSORS = {"genai": {}, "groupbytrace": {"wait_duration_after_root_received": "100ms"}, "tag_schema": {}}

LIMIT = "ready rows (limit)"
REQUESTS = ((1, 4), (16, 4), (64, 4), (64, 1))
"""To MLflow's own endpoint: traces in a request, and requests at a time."""
SAME = ", for the bridge's rows"
"""What `genai` and `tag_schema` add is in the requests."""
BRIDGE, COLLECTOR = "bridge", "OpenTelemetry Collector"
TO_DATABASE = f"{BRIDGE} -> database"
TRUSTED = f"{TO_DATABASE} that looks no references up"
SENDS, FORWARDERS = (1, 4), (1, 4, 10)
"""Requests at a time, of the bridge to a tracking server and of a forwarder: 1 is an SDK's, 4 the bridge's default, 10
the Collector's."""
LASTING = (1, 5)
"""Seconds of a trace: the longer it lasts, the more requests a forwarder spreads it over."""
SEAMS = "plain forwarder, 4 at a time, one trace after the other -> tracking server"

Way: TypeAlias = Callable[[], float]
"""Does it once, with traces of its own; spans a second."""
Rates: TypeAlias = Mapping[str, Sequence[float]]
"""Spans a second by way, one figure for each round."""
Line: TypeAlias = tuple[str, Sequence[float], str, str]
"""Name, a figure for each round, unit and goal."""

_numbers = count(1)


@dataclass
class Store:
    """A tracking database, and what MLflow's client is told to read it: a server in front of it, or the database."""

    database: str
    reader: str
    engine: Engine

    def until_all(self, experiment_id: str, traces: int) -> None:
        """Wait for every span; spans are counted when all traces are there, as that costs the database more."""
        self._until("trace_info", experiment_id, traces)
        self._until("spans", experiment_id, traces * SPANS)

    def _until(self, table: str, experiment_id: str, wanted: int) -> None:
        """Between two looks half of what is left by the rate so far goes by, as counting takes the writers' time."""
        started = time.perf_counter()
        while (there := self._count(table, experiment_id)) < wanted:
            waited = time.perf_counter() - started
            assert waited < LONGEST_WAIT, f"{table}: {there} of {wanted} rows have come"
            left = waited * (wanted - there) / max(there, 1)
            time.sleep(min(max(SHORTEST_LOOK, left / 2), LONGEST_LOOK))

    def _count(self, table: str, experiment_id: str) -> int:
        query = text(f"SELECT count(*) FROM {table} WHERE experiment_id = :id")
        with self.engine.connect() as connection:
            return int(connection.execute(query, {"id": int(experiment_id)}).scalar_one())


@dataclass
class Stores:
    """A database behind an MLflow server, and new ones of its kind.

    `trusted` lets a role that may do without look-ups of references into a database, where there is such a thing.
    """

    served: Store
    empty: Databases
    trusted: Callable[[str], str] | None

    @contextmanager
    def new(self) -> Iterator[Store]:
        """An empty database, which is gone at the end."""
        with self.empty.one() as database, _engine(database) as engine:
            yield Store(database, database, engine)


@contextmanager
def stores(kind: str) -> Iterator[Stores]:
    """An MLflow server on a throwaway database, and whatever makes others."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = stack.enter_context(_in_use()) if kind == "postgresql" else None
        database = running.database("bench") if running else f"sqlite:///{folder / 'mlflow.db'}"
        server = stack.enter_context(mlflow_server(folder, "--backend-store-uri", database, "--workers", WORKERS))
        served = Store(database, server, stack.enter_context(_engine(database)))
        yield Stores(served, Databases(folder, running), _trusted(running) if running else None)


@contextmanager
def _engine(database: str) -> Iterator[Engine]:
    engine = create_engine(database, connect_args={"timeout": PATIENCE} if database.startswith("sqlite") else {})
    try:
        yield engine
    finally:
        engine.dispose()


def _trusted(cluster_: Cluster) -> Callable[[str], str] | None:
    """See `spanbridge.collector.exporters.mlflow.database.bulk.foreign_keys`."""
    if cluster_.version < FIRST_WITH_GRANTS:
        return None
    cluster_.run("CREATE ROLE bridge LOGIN")
    cluster_.run("GRANT SET ON PARAMETER session_replication_role TO bridge")
    return partial(cluster_.let_in, "bridge")


@contextmanager
def _in_use() -> Iterator[Cluster]:
    """A cluster that writes into segments of its log which it has had before, as one that has run for a while does."""
    with cluster(f"min_wal_size={16 * LOG_SEGMENTS}MB") as running:
        switch = "PERFORM pg_logical_emit_message(false, '', ''); PERFORM pg_switch_wal();"
        running.run(f"DO $$BEGIN FOR number IN 1..{LOG_SEGMENTS} LOOP {switch} END LOOP; END$$")
        running.run("CHECKPOINT")
        yield running


def timed(store_: Store, experiment: str, traces: int, send: Callable[[], None], *, before: int = 0) -> float:
    """Spans a second from the first request until the store has them all; `before` traces are in the experiment."""
    experiment_id = _id(store_, experiment)
    started = time.perf_counter()
    send()
    store_.until_all(experiment_id, before + traces)
    seconds = time.perf_counter() - started
    found = sum(1 for _ in search(store_.reader, experiment, spans=False))
    assert found == before + traces, f"a search finds {found} of {before + traces} traces"
    return traces * SPANS / seconds


def ready_rows(empty: Databases) -> float:
    """The limit: the rows that the bridge writes, made before the clock starts, by COPY or INSERTs of many rows."""
    record = as_the_bridge_has_it()
    way = partial(bulk_rows.ready_rows, TOGETHER, lambda trace: NewTrace.of(record(trace)))
    return bulk_rows.measure(empty, way, _fresh(DATABASE))[0]


def as_the_bridge_has_it() -> Callable[[Trace], TraceRecord]:
    """What the processors of the bench and the exporter make of a trace before it becomes rows or a request."""
    head, stages = GenAi(GenAiConfig()), (GenAiTrace(GenAiConfig()), TagSchema(TagSchemaConfig(), {}))
    record = Recorder(RESOURCE_TAGS)

    def made(trace: Trace) -> TraceRecord:
        head(trace.batch)
        for stage in stages:
            stage(trace)
        return record(trace, time.time_ns())

    return made


def as_the_bridge_sends_it(traces: Sequence[Trace], size: int) -> list[bytes]:
    """Requests of `size` whole traces that leave the same rows as the bridge does in a database."""
    records = list(map(as_the_bridge_has_it(), traces))
    return [encode(piece) for piece in bulk_rows.pieces(records, size)]


def post(store_: Store, payloads: Sequence[bytes], experiment: str, at_a_time: int) -> None:
    """Post to MLflow's own endpoint over connections that are kept.

    What is refused is sent again: workers that meet in a trace answer so now and then.
    """
    headers = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": _id(store_, experiment)}
    with (
        urllib3.PoolManager(retries=False, timeout=120, maxsize=at_a_time) as pool,
        ThreadPoolExecutor(at_a_time) as threads,
    ):

        def one(payload: bytes) -> None:
            for _ in range(ATTEMPTS):
                answer = pool.request("POST", f"{store_.reader}/v1/traces", body=payload, headers=headers)
                if answer.status == 200:
                    return
            raise AssertionError(answer.data[:200])

        list(threads.map(one, payloads))


def posted(store_: Store, traces: int, requests: Callable[[Sequence[Trace]], list[bytes]], at_a_time: int) -> float:
    """MLflow's own endpoint."""
    experiment = _experiment(store_)
    payloads = requests(_fresh(traces))
    return timed(store_, experiment, traces, lambda: post(store_, payloads, experiment, at_a_time))


def to_otlp(port: int, payloads: Sequence[bytes]) -> None:
    """Send over OTLP/gRPC and wait for each OK."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_send_message_length", -1)]) as channel:
        call = channel.unary_unary(EXPORT)
        for payload in payloads:
            call(payload, timeout=120)


@contextmanager
def bridge(uri: str, experiment: str, **queue: int) -> Iterator[int]:
    """The program in front of a tracking URI; its gRPC port. `queue` is of its sending_queue."""
    with tempfile.TemporaryDirectory() as folder:
        ports = Ports()
        queue_ = {"storage": "file_storage", **queue}
        mlflow = {"tracking_uri": uri, "experiment": experiment, "sending_queue": queue_}
        config = configuration(ports, Path(folder), mlflow, processors=PROCESSORS)
        with Program(config, Path(folder), ports):
            yield ports.grpc


def bridged(store_: Store, uri: str, traces: int, seconds: int = 1, **queue: int) -> float:
    """The program; some traces before the clock starts load what is loaded late."""
    experiment, warm = _experiment(store_), 256
    with bridge(uri, experiment, **queue) as port:
        to_otlp(port, as_they_end(_fresh(warm)))
        store_.until_all(_id(store_, experiment), warm)
        payloads = as_they_end(_fresh(traces), seconds)
        return timed(store_, experiment, traces, lambda: to_otlp(port, payloads), before=warm)


def to_database(stores_: Stores, uri: Callable[[str], str] = str) -> float:
    """The program into an empty database; `uri` makes of the database's what it is told."""
    with stores_.new() as store_:
        return bridged(store_, uri(store_.database), DATABASE)


def collected(store_: Store, seconds: int) -> float:
    """An OpenTelemetry Collector."""
    experiment = _experiment(store_)
    with otelcol.collector(store_.reader, _id(store_, experiment)) as port:
        payloads = as_they_end(_fresh(SERVER), seconds)
        return timed(store_, experiment, SERVER, lambda: to_otlp(port, payloads))


def to_server(sender: str, seconds: int) -> str:
    """The name of a way."""
    return f"{sender}, traces of {seconds} s -> tracking server"


def bridge_to_server(at_a_time: int, seconds: int) -> str:
    """The name of a way."""
    return to_server(f"{BRIDGE}, {at_a_time} at a time", seconds)


def forwarder(at_a_time: int, seconds: int) -> str:
    """The name of a way."""
    return to_server(f"plain forwarder, {at_a_time} at a time", seconds)


def own(size: int, at_a_time: int, what: str = "") -> str:
    """The name of a way."""
    return f"MLflow /v1/traces, {size} traces a request, {at_a_time} at a time{what}"


def endpoint(store_: Store, what: str, requests: Callable[..., list[bytes]]) -> dict[str, Way]:
    """MLflow's own endpoint with each kind of requests."""
    return {own(size, n, what): partial(posted, store_, OWN, partial(requests, size=size), n) for size, n in REQUESTS}


def ways(stores_: Stores) -> dict[str, Way]:
    """All of them by name, in the order in which they take turns."""
    store_ = stores_.served
    made: dict[str, Way] = {LIMIT: partial(ready_rows, stores_.empty)}
    made |= endpoint(store_, "", whole)
    made[TO_DATABASE] = partial(to_database, stores_)
    if stores_.trusted:
        made[TRUSTED] = partial(to_database, stores_, stores_.trusted)
    made |= endpoint(store_, SAME, as_the_bridge_sends_it)
    for seconds in LASTING:
        pattern = partial(as_they_end, seconds=seconds)
        ours = partial(bridged, store_, store_.reader, SERVER, seconds)
        made |= {bridge_to_server(n, seconds): partial(ours, num_consumers=n) for n in SENDS}
        made |= {forwarder(n, seconds): partial(posted, store_, SERVER, pattern, n) for n in FORWARDERS}
        if otelcol.BINARY:
            made[to_server(COLLECTOR, seconds)] = partial(collected, store_, seconds)
    made[SEAMS] = partial(posted, store_, SERVER, one_after_the_other, 4)
    return made


def measure(kind: str) -> Rates:
    """Spans a second by way, one figure for each round."""
    results: dict[str, list[float]] = defaultdict(list)
    with stores(kind) as stores_:
        for _ in range(int(WORKERS)):  # a server's first requests load what is loaded late
            posted(stores_.served, 64, partial(whole, size=1), at_a_time=10)
        for _ in range(ROUNDS):
            for name, way in ways(stores_).items():
                results[name].append(way())
    return results


def best(rates: Rates, names: Iterable[str]) -> str:
    """The way with the best median."""
    return max(names, key=lambda name: statistics.median(rates[name]))


def ratio(rates: Rates, way: str, other: str) -> list[float]:
    """How many times as fast one way is, round by round, as the machine is not as fast in each of them."""
    return [one / two for one, two in zip(rates[way], rates[other], strict=True)]


def rows(kind: str, row: Callable[[str, float, str, str], dict]) -> list[dict]:
    """A line for each way, then the ratios that the goals speak of; `rounds` are what a line is the median of."""
    rates = measure(kind)
    lines = chain(
        ((name, each, "spans/s", "") for name, each in rates.items()),
        database_ratios(kind, rates),
        server_ratios(rates),
    )
    return [
        row(f"{kind}: {name}", statistics.median(each), unit, goal) | {"rounds": [round(value, 3) for value in each]}
        for name, each, unit, goal in lines
    ]


def database_ratios(kind: str, rates: Rates) -> Iterator[Line]:
    """The bridge into the database, divided by MLflow's endpoint and by ready rows."""
    times, share = {"sqlite": (">= 8", ">= 0.35"), "postgresql": (">= 15", ">= 0.5")}[kind]
    for way in (TO_DATABASE, TRUSTED) if TRUSTED in rates else (TO_DATABASE,):
        for what, goal in (("", times), (SAME, "")):
            theirs = best(rates, (own(size, n, what) for size, n in REQUESTS))
            yield f"{way} / MLflow's best{what}", ratio(rates, way, theirs), "x", goal
        yield f"{way} / limit", ratio(rates, way, LIMIT), "x", share


def server_ratios(rates: Rates) -> Iterator[Line]:
    """The bridge to a tracking server, divided by what others send there: the best of each."""
    for seconds in LASTING:
        note = f"traces of {seconds} s -> tracking server"
        ours = best(rates, (bridge_to_server(n, seconds) for n in SENDS))
        forwarded = best(rates, (forwarder(n, seconds) for n in FORWARDERS))
        yield f"bridge's best / plain forwarder's, {note}", ratio(rates, ours, forwarded), "x", ">= 1.3"
        if (collector := to_server(COLLECTOR, seconds)) in rates:
            yield f"bridge's best / {COLLECTOR}, {note}", ratio(rates, ours, collector), "x", ""
    ours = best(rates, (bridge_to_server(n, LASTING[0]) for n in SENDS))
    yield f"bridge's best / {SEAMS}", ratio(rates, ours, SEAMS), "x", ""


def _experiment(store_: Store) -> str:
    name = f"bench {next(_numbers)}"
    MlflowClient(store_.reader).create_experiment(name)
    return name


def _id(store_: Store, experiment: str) -> str:
    return MlflowClient(store_.reader).get_experiment_by_name(experiment).experiment_id


def _fresh(number: int) -> list[Trace]:
    start = next(_numbers) * 1_000_000
    return [bench_trace(start + index) for index in range(number)]
