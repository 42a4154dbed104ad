"""How fast spans get into a tracking database: ready rows, MLflow's own endpoint, the bulk writer.

    python -m tests.bench.bulk_rows [sqlite] [postgresql] [--traces N] [--rounds N] [--batch N]

Prints spans per second of wall time and this process's CPU time per span, medians over rounds; the ways take turns
within a round, each on a fresh database. PostgreSQL is a throwaway cluster that waits for the disk as a real one does.
`ready rows` is the limit: the same rows, made before the clock starts, by COPY or INSERTs of many rows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

os.environ.update(MLFLOW_MODEL_CATALOG_URI="", MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
warnings.simplefilter("ignore")

from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: E402  reads the environment

from spanbridge.collector.exporters.mlflow.database.bulk import NewTrace  # noqa: E402
from spanbridge.collector.exporters.mlflow.database.bulk.tables import Tables  # noqa: E402
from spanbridge.collector.exporters.mlflow.database.bulk.tags import LocationTags  # noqa: E402
from spanbridge.collector.exporters.mlflow.database.bulk.traces import Place, TraceDecoder  # noqa: E402
from spanbridge.collector.exporters.mlflow.database.bulk.writer import BulkWriter, _begin  # noqa: E402
from spanbridge.processors.types import Trace  # noqa: E402
from tests.integration.mlflow.bulk.stores import Databases, log_by_endpoint  # noqa: E402
from tests.samples.raw_traces import raw_trace  # noqa: E402
from tests.samples.traces import batch, bench_trace  # noqa: E402
from tests.servers.postgres import cluster  # noqa: E402

SPANS = 8

T = TypeVar("T")
Job: TypeAlias = Callable[[], None]
Way: TypeAlias = Callable[[SqlAlchemyStore, Sequence[Trace]], Job]
"""Prepares what the clock shall not see; returns what it shall."""


def pieces(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def ready_rows(size: int, new: Callable[[Trace], NewTrace], store: SqlAlchemyStore, traces: Sequence[Trace]) -> Job:
    decode, place, tables = TraceDecoder(), Place(0, LocationTags("/artifacts/0")), Tables(store.engine.dialect)
    parts = [[decode(new(trace), place) for trace in piece] for piece in pieces(traces, size)]

    def job() -> None:
        for part in parts:
            with store.engine.begin() as connection:
                _begin(connection)
                for insert in tables.ready(part):
                    insert(connection)

    return job


def endpoint(size: int, store: SqlAlchemyStore, traces: Sequence[Trace]) -> Job:
    requests = [batch(piece) for piece in pieces(traces, size)]

    def job() -> None:
        for request in requests:
            assert log_by_endpoint(store, request) == 200

    return job


def bulk(size: int, threads: int, store: SqlAlchemyStore, traces: Sequence[Trace]) -> Job:
    writer, parts = BulkWriter(store), [list(map(raw_trace, piece)) for piece in pieces(traces, size)]

    def job() -> None:
        with ThreadPoolExecutor(threads) as pool:
            assert not any(pool.map(partial(writer.write, experiment_id="0"), parts))

    return job


def measure(databases: Databases, way: Way, traces: Sequence[Trace]) -> tuple[float, float]:
    """Spans a second, and CPU microseconds a span."""
    with databases.store() as store:
        job = way(store, traces)
        wall, cpu = time.perf_counter(), time.process_time()
        job()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    spans = len(traces) * SPANS
    return spans / wall, cpu / spans * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("databases", nargs="*", default=["sqlite", "postgresql"])
    parser.add_argument("--traces", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=250, help="traces in a transaction")
    options = parser.parse_args()
    traces = [bench_trace(number, normalized=True) for number in range(options.traces)]
    raw = [bench_trace(number) for number in range(options.traces)]
    few = traces[: max(64, options.traces // 20)]
    ways: dict[str, tuple[Way, Sequence[Trace]]] = {
        "ready rows (limit)": (partial(ready_rows, options.batch, raw_trace), traces),
        "MLflow, 1 trace a request": (partial(endpoint, 1), few),
        "MLflow, 16 traces": (partial(endpoint, 16), few),
        "MLflow, 64 traces": (partial(endpoint, 64), few),
        "bulk, 1 thread": (partial(bulk, options.batch, 1), traces),
        "bulk, 2 threads": (partial(bulk, options.batch, 2), traces),
        "bulk, not normalized": (partial(bulk, options.batch, 2), raw),
    }
    for name in options.databases:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            running = stack.enter_context(cluster()) if name == "postgresql" else None
            databases = Databases(directory, running)
            results = defaultdict(list)
            for _ in range(options.rounds):
                for label, (way, some) in ways.items():
                    results[label].append(measure(databases, way, some))
            show(name, results)


def show(name: str, results: dict[str, list[tuple[float, float]]]) -> None:
    medians = {label: tuple(map(statistics.median, zip(*runs, strict=True))) for label, runs in results.items()}
    limit = medians["ready rows (limit)"][0]
    best = max(rate for label, (rate, _) in medians.items() if label.startswith("MLflow"))
    print(f"\n{name:28} {'spans/s':>9} {'of limit':>9} {'x MLflow':>9} {'CPU us/span':>12}")
    for label, (rate, cpu) in medians.items():
        print(f"{label:28} {rate:9,.0f} {rate / limit:9.0%} {rate / best:9.1f} {cpu:12.1f}")


if __name__ == "__main__":
    main()
