"""Memory of the program, and of the process that writes for it, while a long stream goes into PostgreSQL."""

from __future__ import annotations

from statistics import mean, median

import grpc
import pytest
from sqlalchemy import create_engine, text

from spanbridge.collector.exporters.mlflow.database.schema import prepare_database
from tests.bench.load import EXPORT
from tests.bench.requests import SPANS, whole
from tests.polling import until_sync
from tests.samples.traces import bench_trace
from tests.servers.postgres import cluster
from tests.servers.program import Ports, Program, configuration

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STRETCHES, REQUESTS, TRACES = 6, 98, 64
"""Stretches of a stream after one to warm up, the requests of each, the traces of those: in all 301,056 spans."""
AHEAD = 1024
"""Traces that may be under way: a backlog is memory too, and says nothing of what is kept for ever."""
PROCESSORS = {"genai": {}, "groupbytrace": {"wait_duration_after_root_received": "100ms"}, "tag_schema": {}}


def test_it_stays_flat_over_300_000_spans_into_postgresql(tmp_path):
    """Each stretch is told by its mean: what is free and not yet given back differs from one moment to the next."""
    ports, sizes, sent = Ports(), [], 0
    with cluster() as running:
        uri = running.database("memory")
        config = configuration(ports, tmp_path, {"tracking_uri": uri, "experiment": "memory"}, processors=PROCESSORS)
        engine = create_engine(uri)
        prepare_database(uri)

        def stored(traces: int) -> bool:
            with engine.connect() as connection:
                return connection.execute(text("SELECT count(*) FROM trace_info")).scalar_one() >= traces

        with Program(config, tmp_path, ports) as program, grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
            call = channel.unary_unary(EXPORT)
            for _ in range(1 + STRETCHES):
                resident = []
                for _ in range(REQUESTS):
                    [request] = whole([bench_trace(sent + number) for number in range(TRACES)], TRACES)
                    call(request, timeout=120, wait_for_ready=True)
                    sent += TRACES
                    if sent > AHEAD:
                        until_sync(lambda sent=sent: stored(sent - AHEAD), seconds=300, what="those before")
                    resident.append(program.rss() / 2**20)
                sizes.append(mean(resident))
            until_sync(lambda: stored(sent), seconds=300, what=f"{sent} traces")
        engine.dispose()
    spans = REQUESTS * TRACES * SPANS
    print(f"MiB, mean of each {spans:,} spans, the first to warm up: {', '.join(f'{size:.0f}' for size in sizes)}")
    middle = median(sizes[1:])
    assert all(0.9 * middle < size < 1.1 * middle for size in sizes[1:])
