"""Two bulk writers and an MLflow SDK on the same traces at the same time: nothing lost, nothing doubled."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from mlflow.entities import TraceInfo, TraceLocation, TraceState
from mlflow.entities.span import Span
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import Connection, text

from spanbridge.collector.exporters.mlflow.database.bulk import BulkWriter
from spanbridge.collector.exporters.mlflow.database.bulk.failures import Failure, Failures
from spanbridge.processors.types import Trace
from spanbridge.processors.types import spans as all_spans
from tests.integration.mlflow.bulk.stores import (
    ARTIFACTS,
    DatabasesOf,
    left,
)
from tests.samples.traces import START_NS, span, trace

SHARED, OWN, SECONDS = 100, 30, 60


def trace_id(number: int) -> bytes:
    return number.to_bytes(16)


def mlflow_id(number: int) -> str:
    return f"tr-{trace_id(number).hex()}"


def usage(tokens: int) -> dict[str, str]:
    return {
        "mlflow.chat.tokenUsage": json.dumps({"input_tokens": tokens, "output_tokens": 1, "total_tokens": tokens + 1})
    }


def root(number: int) -> Trace:
    """The part one bridge has: the root and a call of 10 + 1 tokens."""
    spans = [
        span(trace_id(number), b"root____", name="root", end_ms=900),
        span(trace_id(number), b"call_one", b"root____", usage(10)),
    ]
    return trace(spans, {"service.name": "front", "only.front": "x"})


def child(number: int) -> Trace:
    """The part the other bridge has: two calls of 20 + 1 tokens, and the latest end."""
    spans = [
        span(trace_id(number), b"call_two", b"root____", usage(20)),
        span(trace_id(number), b"call_tri", b"root____", usage(20), end_ms=1500),
    ]
    return trace(spans, {"service.name": "back", "only.back": "x"})


def until_it_works(act: Callable[[], object]) -> None:
    """MLflow's own calls may fail when others write the same rows (its issue 21721); a sender tries again."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            act()
        except MlflowException:
            if time.monotonic() > deadline:
                raise
        else:
            return


def bridge(store: SqlAlchemyStore, traces: Sequence[Trace], dice: random.Random) -> int:
    """Write traces in batches as the exporter does; return how many went the bulk way."""
    writer, waiting, bulk = BulkWriter(store), list(traces), 0
    dice.shuffle(waiting)
    while waiting:
        size = dice.randrange(1, 25)
        batch, waiting = waiting[:size], waiting[size:]
        rest = left(writer, batch)
        bulk += len(batch) - len(rest)
        for one in rest:
            until_it_works(lambda one=one: log_spans(store, one))
    return bulk


def log_spans(store: SqlAlchemyStore, some: Trace) -> None:
    resource = some.batch.resource_spans[0].resource
    store.log_spans("0", [Span.from_otel_proto(one, resource=resource) for one in all_spans(some.batch)])


def started(number: int) -> bool:
    """Whether the SDK begins this trace with start_trace, whose token usage then counts for all of it."""
    return number % 2 == 0


def sdk(store: SqlAlchemyStore, numbers: Sequence[int], dice: random.Random) -> None:
    """What MLflow's SDK does with a trace of its own: start_trace, and log_spans for a call of 30 + 1 tokens."""
    numbers = list(numbers)
    dice.shuffle(numbers)
    for number in numbers:
        info = TraceInfo(
            trace_id=mlflow_id(number),
            trace_location=TraceLocation.from_experiment_id("0"),
            request_time=START_NS // 10**6,
            execution_duration=2000,
            state=TraceState.OK,
            tags={"sdk": "yes"},
            trace_metadata={"mlflow.trace.tokenUsage": json.dumps({"total_tokens": 99})},
        )
        call = trace([span(trace_id(number), b"call_sdk", b"root____", usage(30))], {"only.sdk": "x"})
        steps: list[Callable[[], object]] = [lambda call=call: log_spans(store, call)]
        if started(number):
            steps.append(lambda info=info: store.start_trace(info))
        dice.shuffle(steps)
        for step in steps:
            until_it_works(step)


@pytest.mark.timeout(SECONDS * 2)
def test_writers_of_the_same_traces(databases_of: DatabasesOf):
    uri = databases_of("postgresql").new()
    # SqlAlchemyStore shares an engine between stores of equal URI; three programs would not.
    stores = [SqlAlchemyStore(f"{uri}&application_name={name}", ARTIFACTS) for name in ("front", "back", "sdk")]
    shared, front, back = range(SHARED), range(1000, 1000 + OWN), range(2000, 2000 + OWN)
    with ThreadPoolExecutor(3) as pool:
        jobs = [
            pool.submit(bridge, stores[0], [*map(root, shared), *map(root, front)], random.Random(1)),
            pool.submit(bridge, stores[1], [*map(child, shared), *map(child, back)], random.Random(2)),
            pool.submit(sdk, stores[2], shared, random.Random(3)),
        ]
        by_front, by_back, _ = (job.result() for job in jobs)
    with stores[0].engine.connect() as connection:
        infos = connection.execute(text("SELECT request_id, status, total_tokens FROM trace_info")).all()
        span_count = connection.scalar(text("SELECT count(*) FROM spans"))
        tags = {
            (request_id, key) for request_id, key in connection.execute(text("SELECT request_id, key FROM trace_tags"))
        }
    for store in stores:
        store.engine.dispose()
    expected = [(number, "OK", 99 if started(number) else 11 + 42 + 31) for number in shared]
    expected += [(number, "OK", 11) for number in front] + [(number, "IN_PROGRESS", 42) for number in back]
    assert sorted(infos) == [(mlflow_id(number), status, tokens) for number, status, tokens in expected]
    assert span_count == 5 * SHARED + 2 * OWN + 2 * OWN
    for number in shared:
        for key in ("only.front", "only.back", "only.sdk", *(["sdk"] if started(number) else [])):
            assert (mlflow_id(number), key) in tags
    # The test would say nothing if one way had done all the work.
    assert OWN < by_front < SHARED + OWN
    assert OWN <= by_back < SHARED + OWN


@pytest.mark.timeout(SECONDS)
def test_writers_of_one_sqlite_file(databases_of: DatabasesOf):
    with databases_of("sqlite").store() as store:
        traces = [[root(100 * thread + number) for number in range(60)] for thread in range(4)]
        with ThreadPoolExecutor(4) as pool:
            bulk = list(pool.map(lambda some: bridge(store, some, random.Random(7)), traces))
        with store.engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM spans")) == 480
        assert bulk == [60] * 4


INSERT = text("INSERT INTO trace_info (request_id, experiment_id, timestamp_ms, status) VALUES (:id, 0, 0, 'OK')")


def wait_for_a_lock(connection: Connection, backend: str) -> None:
    """Wait until a program called `backend` waits for a lock; a transaction would see one state of things for ever."""
    deadline = time.monotonic() + 20
    query = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name AND wait_event_type = 'Lock'")
    while not connection.scalar(query, {"name": backend}):
        assert time.monotonic() < deadline


def watching(store: SqlAlchemyStore) -> Connection:
    return store.engine.connect().execution_options(isolation_level="AUTOCOMMIT")


@pytest.fixture
def bridge_store(databases_of: DatabasesOf) -> Iterator[SqlAlchemyStore]:
    store = SqlAlchemyStore(f"{databases_of('postgresql').new()}&application_name=bridge", ARTIFACTS)
    yield store
    store.engine.dispose()


def test_a_trace_that_another_is_about_to_commit_comes_back(bridge_store: SqlAlchemyStore):
    traces = [root(number) for number in range(1, 8)]
    with ThreadPoolExecutor(1) as pool, bridge_store.engine.connect() as other, watching(bridge_store) as watch:
        other.execute(INSERT, {"id": mlflow_id(5)})
        writing = pool.submit(left, BulkWriter(bridge_store), traces)
        wait_for_a_lock(watch, "bridge")
        other.commit()
        assert writing.result(SECONDS) == [traces[4]]
        assert watch.scalar(text("SELECT count(*) FROM spans")) == 12


def test_a_trace_that_another_does_not_commit_after_all_is_written(bridge_store: SqlAlchemyStore):
    traces = [root(number) for number in range(1, 8)]
    with ThreadPoolExecutor(1) as pool, bridge_store.engine.connect() as other, watching(bridge_store) as watch:
        other.execute(INSERT, {"id": mlflow_id(5)})
        writing = pool.submit(left, BulkWriter(bridge_store), traces)
        wait_for_a_lock(watch, "bridge")
        other.rollback()
        assert writing.result(SECONDS) == []


def test_a_deadlock_is_tried_again(bridge_store: SqlAlchemyStore, monkeypatch: pytest.MonkeyPatch):
    """Another writer locks in the wrong order and has more patience: PostgreSQL ends the bridge's transaction."""
    met = []
    kind = Failures.kind
    monkeypatch.setattr(Failures, "kind", lambda self, error: met.append(kind(self, error)) or met[-1])
    traces = [root(number) for number in range(1, 8)]
    with ThreadPoolExecutor(1) as pool, bridge_store.engine.connect() as other, watching(bridge_store) as watch:
        other.execute(text("SET deadlock_timeout = '30s'"))
        other.execute(INSERT, {"id": mlflow_id(7)})
        writing = pool.submit(left, BulkWriter(bridge_store), traces)
        wait_for_a_lock(watch, "bridge")
        other.execute(INSERT, {"id": mlflow_id(1)})
        other.commit()
        assert writing.result(SECONDS) == [traces[0], traces[6]]
        assert watch.scalar(text("SELECT count(*) FROM spans")) == 10
    assert Failure.AGAIN in met
