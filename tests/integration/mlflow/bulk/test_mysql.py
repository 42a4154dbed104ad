"""MySQL, in the guise of MariaDB: the rows that MLflow's own endpoint leaves, and writers that meet."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from mlflow.store.tracking.dbmodels.models import SqlSpan
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import func, select

from spanbridge.collector.exporters.mlflow.database.bulk import BulkWriter
from spanbridge.collector.exporters.mlflow.database.schema import prepare_database
from tests.integration.mlflow.bulk.stores import ARTIFACTS, Pair, left, split
from tests.integration.mlflow.bulk.test_truth import SETS, captured
from tests.samples.traces import bench_trace
from tests.servers.mariadb import NewDatabase, fixture_mariadb  # noqa: F401  a fixture

pytestmark = pytest.mark.timeout(180)  # MLflow's migrations take their time there


@pytest.fixture(scope="module", name="pair")
def fixture_pair(mariadb: NewDatabase) -> Iterator[Pair]:
    with ExitStack() as stack:
        uris = [mariadb(name) for name in ("truth", "ours")]
        for uri in uris:
            prepare_database(uri)
        truth, ours = (SqlAlchemyStore(uri, ARTIFACTS) for uri in uris)
        for store in (truth, ours):
            stack.callback(store.engine.dispose)
        yield Pair(truth, ours, BulkWriter(ours))


def test_it_is_written_in_bulk(pair: Pair):
    assert pair.writer.off == ""


def test_captures(pair: Pair):
    for name in SETS:
        traces = split(captured(name))
        assert pair.write(traces) == [], name
        pair.assert_equal(trace.trace_id for trace in traces)


@pytest.mark.parametrize("normalized", [False, True])
def test_the_bench_mix(pair: Pair, normalized: bool):
    traces = [bench_trace(100 * normalized + number, normalized=normalized) for number in range(30)]
    assert pair.write(traces) == []
    pair.assert_equal(trace.trace_id for trace in traces)


def test_writers_of_the_same_traces_leave_each_once(pair: Pair):
    traces = [bench_trace(1000 + number) for number in range(200)]
    with ThreadPoolExecutor(4) as threads:
        rest = list(threads.map(lambda _: len(left(pair.writer, traces)), range(4)))
    assert sum(len(traces) - count for count in rest) == len(traces)
    spans = SqlSpan.__table__
    wanted = spans.c.trace_id.in_([f"tr-{trace.trace_id.hex()}" for trace in traces])
    with pair.ours.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(spans).where(wanted)) == 8 * len(traces)
