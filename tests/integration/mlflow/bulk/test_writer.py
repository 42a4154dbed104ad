"""What the bulk writer takes, what it hands back, and that MLflow reads what it wrote."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mlflow import MlflowClient
from mlflow.entities.trace_metrics import AggregationType, MetricAggregation, MetricViewType
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import create_engine, text

from spanbridge.collector.errors import Retryable
from spanbridge.collector.exporters.mlflow.database.bulk import BulkWriter
from spanbridge.processors.types import Trace
from tests.integration.mlflow.bulk.stores import (  # noqa: F401  fixtures
    ARTIFACTS,
    DatabasesOf,
    Pair,
    fixture_databases,
    fixture_pair,
    fixture_store,
    left,
    log_by_endpoint,
)
from tests.samples.traces import START_NS, bench_trace, span, trace
from tests.servers.postgres import Cluster


def one_span(number: int, **fields: object) -> Trace:
    return trace([span(number.to_bytes(16), number.to_bytes(8), **fields)])


def count(store: SqlAlchemyStore, table: str) -> int:
    with store.engine.connect() as connection:
        return connection.scalar(text(f"SELECT count(*) FROM {table}"))


def trace_id(some: Trace) -> str:
    return f"tr-{some.trace_id.hex()}"


def test_traces_the_store_has_come_back(store: SqlAlchemyStore):
    writer = BulkWriter(store)
    first, second, third = map(one_span, (1, 2, 3))
    assert log_by_endpoint(store, second.batch) == 200
    assert left(writer, [first, second, third]) == [second]
    assert left(writer, [third, first]) == [third, first]
    assert count(store, "spans") == 3


def test_of_a_trace_in_parts_the_first_is_written_and_the_others_come_back_in_order(store: SqlAlchemyStore):
    parts = [trace([span(b"t" * 16, bytes([part]) * 8)]) for part in (1, 2, 3)]
    assert left(BulkWriter(store), [parts[0], one_span(1), *parts[1:]]) == parts[1:]


def test_an_unfit_part_comes_back_with_what_follows_it(store: SqlAlchemyStore):
    parts = [trace([span(b"t" * 16, b"short")]), trace([span(b"t" * 16, b"12345678")])]
    assert left(BulkWriter(store), parts) == parts
    assert count(store, "trace_info") == 0


def test_an_empty_batch(store: SqlAlchemyStore):
    assert left(BulkWriter(store), []) == []


@pytest.mark.parametrize("experiment_id", ["4711", "name", ""])
def test_an_unknown_experiment_is_for_mlflow_to_refuse(store: SqlAlchemyStore, experiment_id: str):
    assert len(left(BulkWriter(store), [one_span(1)], experiment_id)) == 1


def test_an_experiment_that_went_away_is_for_mlflow_to_refuse(store: SqlAlchemyStore):
    experiment_id = store.create_experiment("short-lived")
    writer = BulkWriter(store)
    assert left(writer, [one_span(1)], experiment_id) == []
    with store.engine.begin() as connection:
        for table in ("spans", "trace_tags", "trace_info"):
            connection.execute(text(f"DELETE FROM {table}"))
        connection.execute(text("DELETE FROM experiments WHERE name = 'short-lived'"))
    assert len(left(writer, [one_span(2), one_span(3)], experiment_id)) == 2
    assert count(store, "spans") == 0


def test_a_trace_of_a_workspace_comes_back(store: SqlAlchemyStore):
    some = one_span(1)
    assert left(BulkWriter(store), [some], workspace="team-a") == [some]


def test_what_the_database_refuses_comes_back_alone(store: SqlAlchemyStore):
    """PostgreSQL takes no NUL in text and no 251st character of a column of 250; the others of the batch go in."""
    good = [one_span(number) for number in range(1, 20)]
    bad = [one_span(30, name="nul\x00"), one_span(31, values={"user.id": "x" * 9000})]
    rest = left(BulkWriter(store), [*good[:7], bad[0], *good[7:], bad[1]])
    expected = bad if store.engine.dialect.name == "postgresql" else []
    assert rest == expected
    assert count(store, "spans") == len(good) + len(bad) - len(expected)


def test_what_no_driver_can_write_comes_back_alone(store: SqlAlchemyStore):
    """Half a surrogate pair is refused before the database sees it, where rows are made ready for COPY."""
    good, bad = [one_span(number) for number in range(1, 8)], replace(one_span(30), tags={"half": "\ud800"})
    assert left(BulkWriter(store), [*good[:3], bad, *good[3:]]) == [bad]
    assert count(store, "spans") == len(good)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MLFLOW_SQL_TRACE_ROLLUPS_ENABLED", "true"), ("MLFLOW_TRACE_ARCHIVAL_CONFIG", "archive.yaml")],
)
def test_what_it_does_not_know_switches_it_off(
    store: SqlAlchemyStore, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
):
    monkeypatch.setenv(variable, value)
    writer = BulkWriter(store)
    some = one_span(1)
    assert variable in writer.off
    assert left(writer, [some]) == [some]


def test_a_store_of_another_kind_switches_it_off(store: SqlAlchemyStore):
    class WorkspaceStore(SqlAlchemyStore):
        """As MLflow's own, which is a subclass too."""

    other = WorkspaceStore(store.db_uri, ARTIFACTS)
    assert "WorkspaceStore" in BulkWriter(other).off


def test_an_unknown_driver_switches_it_off(databases_of: DatabasesOf, monkeypatch: pytest.MonkeyPatch):
    with databases_of("postgresql").store() as store:
        monkeypatch.setattr(store.engine.dialect, "driver", "pg8000")
        assert "pg8000" in BulkWriter(store).off


def test_a_database_that_is_locked(databases_of: DatabasesOf, monkeypatch: pytest.MonkeyPatch):
    with databases_of("sqlite").store() as store:
        monkeypatch.setattr("spanbridge.collector.exporters.mlflow.database.bulk.writer._SQLITE_WAIT_MS", 1)
        other = create_engine(store.db_uri)
        with other.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            with pytest.raises(Retryable):
                left(BulkWriter(store), [one_span(1)])
        other.dispose()
        assert left(BulkWriter(store), [one_span(1)]) == []


def test_a_server_that_goes_away_and_comes_back(postgres: Cluster, databases_of: DatabasesOf):
    with databases_of("postgresql").store() as store:
        writer = BulkWriter(store)
        name = store.engine.url.database
        assert left(writer, [one_span(1)]) == []
        postgres.run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        with pytest.raises(Retryable):
            left(writer, [one_span(2)])
        postgres.run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert left(writer, [one_span(2)]) == []
        assert count(store, "spans") == 2


def test_the_other_driver_of_postgresql(databases_of: DatabasesOf):
    uri = databases_of("postgresql").new()
    store = SqlAlchemyStore(uri.replace("postgresql:", "postgresql+psycopg2:"), ARTIFACTS)
    writer = BulkWriter(store)
    assert writer.off == ""
    assert left(writer, [bench_trace(number) for number in range(5)]) == []
    assert count(store, "spans") == 40
    store.engine.dispose()


def test_postgresql_compresses_by_lz4_where_it_can(databases_of: DatabasesOf):
    with databases_of("postgresql").store() as store, store.engine.connect() as connection:
        can = "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
        if not connection.scalar(text(can)):
            pytest.skip("this PostgreSQL was built without lz4")
        assert left(BulkWriter(store), [one_span(1, values={"text": "long " * 1000})]) == []
        assert connection.scalar(text("SELECT pg_column_compression(content) FROM spans")) == "lz4"


def test_runs_are_linked_as_mlflow_links_them(pair: Pair):
    pair.write([bench_trace(1), trace([span(b"t" * 16, b"12345678", b"parent__")])], run_id="r" * 32)
    pair.assert_equal()
    assert count(pair.ours, "entity_associations") == 1


def test_mlflow_reads_what_was_written(store: SqlAlchemyStore):
    traces = [bench_trace(number, normalized=True) for number in range(6)]
    assert left(BulkWriter(store), traces) == []
    client = MlflowClient(store.db_uri)
    found = client.search_traces(locations=["0"], filter_string="trace.name = 'invoke_agent support-agent'")
    assert {one.info.trace_id for one in found} == set(map(trace_id, traces))
    for search in (
        "span.type = 'CHAT_MODEL'",
        "tags.environment = 'production'",
        "tags.`service.name` = 'support-agent'",
        "trace.status = 'OK'",
        "span.attributes.`gen_ai.tool.name` LIKE '%order_lookup%'",
        "span.attributes.`gen_ai.tool.name` RLIKE '^order_lookup$'",
        "span.content LIKE '%order_lookup%'",
        "metadata.`mlflow.trace.user` LIKE 'user-%'",
        f"timestamp >= {START_NS // 10**6}",
    ):
        assert len(client.search_traces(locations=["0"], filter_string=search)) == 6, search


def test_mlflow_gets_a_whole_trace(store: SqlAlchemyStore):
    some = bench_trace(3, normalized=True)
    assert left(BulkWriter(store), [some]) == []
    got = MlflowClient(store.db_uri).get_trace(trace_id(some))
    assert [len(got.data.spans), got.info.state, got.info.execution_duration] == [8, "OK", 1000]
    assert got.info.token_usage["total_tokens"] == sum(
        one.get_attribute("mlflow.chat.tokenUsage")["total_tokens"]
        for one in got.data.spans
        if one.span_type == "CHAT_MODEL"
    )
    assert got.info.request_preview in got.data.spans[0].inputs["messages"][0]["content"]


def test_mlflow_counts_what_was_written(store: SqlAlchemyStore):
    traces = [bench_trace(number, normalized=True) for number in range(4)]
    assert left(BulkWriter(store), traces) == []
    for view, metric, kind, least in (
        (MetricViewType.TRACES, "trace_count", AggregationType.COUNT, 4),
        (MetricViewType.TRACES, "total_tokens", AggregationType.SUM, 1000),
        (MetricViewType.SPANS, "span_count", AggregationType.COUNT, 32),
        (MetricViewType.SPANS, "total_cost", AggregationType.SUM, 1e-6),
    ):
        points = store.query_trace_metrics(["0"], view, metric, [MetricAggregation(kind)])
        assert sum(value for point in points for value in point.values.values()) >= least, metric


def test_mlflow_goes_on_with_what_was_written(pair: Pair):
    """Late spans, a tag, and deletion: through MLflow, on both, to the same rows."""
    some = bench_trace(1, normalized=True)
    pair.write([some])
    late = trace([span(some.trace_id, b"late_one", values={"mlflow.chat.tokenUsage": '{"input_tokens": 5}'})])
    assert pair.write([late]) == [late]
    for store in (pair.truth, pair.ours):
        store.set_trace_tag(trace_id(some), "seen", "yes")
    pair.assert_equal()
    for store in (pair.truth, pair.ours):
        assert store.delete_traces("0", trace_ids=[trace_id(some)]) == 1
        with pytest.raises(MlflowException):
            store.get_trace_info(trace_id(some))
    pair.assert_equal()
    assert count(pair.ours, "spans") == 0
