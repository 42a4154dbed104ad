"""A database whose tables are not those that bulk rows are made for: noticed where it matters, and only there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import pytest
from mlflow.store.db.base_sql_model import Base
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import BigInteger, Column, ForeignKey, String, Table, inspect, text

from spanbridge.collector.exporters.mlflow.database.bulk import BulkWriter
from spanbridge.collector.exporters.mlflow.database.bulk.layout import differences
from spanbridge.collector.exporters.mlflow.database.tracking_database import bulk_writer
from spanbridge.collector.exporters.mlflow.record.record import Recorder
from tests.integration.mlflow.bulk.stores import (  # noqa: F401  fixtures
    DatabasesOf,
    fixture_databases,
    fixture_store,
    left,
)
from tests.samples.mlflow_traces import whole_trace
from tests.samples.traces import bench_trace


def alter(store: SqlAlchemyStore, *statements: str) -> None:
    with store.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def rebuilt(store: SqlAlchemyStore, table: str, old: str, new: str) -> tuple[str, ...]:
    """Statements that make a table of SQLite anew, with some words of its definition replaced."""
    with store.engine.connect() as connection:
        query = text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :name")
        definition = connection.execute(query, {"name": table}).scalar_one()
    assert old in definition
    return "PRAGMA legacy_alter_table = ON", f"DROP TABLE {table}", definition.replace(old, new)


def span_count(store: SqlAlchemyStore) -> int:
    with store.engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM spans"))


def test_a_new_database_is_as_known(store: SqlAlchemyStore):
    assert differences(store.engine) == []


def test_the_database_says_a_later_revision_of_equal_tables(store: SqlAlchemyStore):
    alter(store, "UPDATE alembic_version SET version_num = 'f00dfeed0000'")
    writer = BulkWriter(store)
    assert writer.off == ""
    assert left(writer, [bench_trace(1)]) == []


@pytest.mark.parametrize(
    "definition", ["VARCHAR(20)", "INTEGER DEFAULT 7", "INTEGER NOT NULL DEFAULT 7"], ids=["null", "default", "filled"]
)
def test_a_column_of_somebody_else_that_may_be_left_out(store: SqlAlchemyStore, definition: str):
    alter(store, f"ALTER TABLE spans ADD COLUMN team {definition}")
    writer = BulkWriter(store)
    assert writer.off == ""
    assert left(writer, [bench_trace(1)]) == []
    assert span_count(store) == 8


CHANGES = {
    "a type, here wider": (
        "ALTER TABLE spans ALTER COLUMN experiment_id TYPE BIGINT",
        ("spans", "experiment_id INTEGER", "experiment_id BIGINT"),
        "spans.experiment_id is BIGINT and not integer",
    ),
    "a type": (
        "ALTER TABLE spans ALTER COLUMN content TYPE JSON USING content::json",
        ("spans", "content TEXT", "content JSON"),
        "spans.content is JSON and not text",
    ),
    "a length": (
        "ALTER TABLE trace_tags ALTER COLUMN value TYPE VARCHAR(100)",
        ("trace_tags", "VARCHAR(8000)", "VARCHAR(100)"),
        "trace_tags.value holds 100 characters and not 8000",
    ),
    "a column that must be filled": (
        "ALTER TABLE spans ADD COLUMN tenant VARCHAR(20) NOT NULL",
        ("spans", "content TEXT", "tenant VARCHAR(20) NOT NULL, content TEXT"),
        "spans.tenant is new and must not be empty",
    ),
    "a column that was allowed to be empty": (
        "ALTER TABLE trace_info ALTER COLUMN session_id SET NOT NULL",
        ("trace_info", "session_id VARCHAR(250)", "session_id VARCHAR(250) NOT NULL"),
        "trace_info.session_id must not be empty",
    ),
    "a column that is gone": (
        "ALTER TABLE spans DROP COLUMN model_provider",
        ("spans", "model_provider VARCHAR(500)", "provider VARCHAR(500)"),
        "there is no column spans.model_provider",
    ),
    "a check": (
        "ALTER TABLE spans ADD CONSTRAINT named CHECK (name <> '')",
        ("spans", "content TEXT NOT NULL", "content TEXT NOT NULL CHECK (name <> '')"),
        "spans has a new check",
    ),
    "what is unique": (
        "ALTER TABLE spans ADD CONSTRAINT alone UNIQUE (span_id)",
        ("spans", "PRIMARY KEY", "UNIQUE (span_id), PRIMARY KEY"),
        "spans has a new unique constraint on (span_id)",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_matters_is_named(store: SqlAlchemyStore, change: str):
    statement, words, said = CHANGES[change]
    is_sqlite = store.engine.dialect.name == "sqlite"
    alter(store, *(rebuilt(store, *words) if is_sqlite else (statement,)))
    assert said in BulkWriter(store).off
    some = bench_trace(1)
    assert left(BulkWriter(store), [some]) == [some]


def test_an_index_that_lets_a_value_in_once(store: SqlAlchemyStore):
    alter(store, "CREATE UNIQUE INDEX alone ON spans (span_id)")
    assert differences(store.engine) == ["spans has a new unique constraint on (span_id)"]


def test_a_table_that_is_gone(store: SqlAlchemyStore):
    alter(store, "DROP TABLE entity_associations")
    assert differences(store.engine) == ["there is no table entity_associations"]


@contextmanager
def newer_mlflow(*added: Column | Table) -> Iterator[None]:
    """MLflow's models with more in them than those we know."""
    spans = Base.metadata.tables["spans"]
    for each in added:
        if isinstance(each, Column):
            spans.append_column(each)
    try:
        yield
    finally:
        for each in added:
            if isinstance(each, Column):
                spans._columns.remove(each)
            else:
                Base.metadata.remove(each)


def test_a_column_that_mlflow_itself_fills(store: SqlAlchemyStore):
    """It may be left empty in the database, but then no search for it would find our spans."""
    with newer_mlflow(Column("finish_reason", String(50), nullable=True)):
        assert differences(store.engine) == ["MLflow fills spans.finish_reason"]


def test_a_table_that_mlflow_fills_beside_ours(store: SqlAlchemyStore):
    table = Table("span_links", Base.metadata, Column("id", BigInteger, ForeignKey("trace_info.request_id")))
    with newer_mlflow(table):
        assert differences(store.engine) == ["MLflow has a table span_links beside trace_info"]


def test_traces_come_through_mlflows_own_store_and_that_is_said_once(
    store: SqlAlchemyStore, caplog: pytest.LogCaptureFixture
):
    alter(store, "ALTER TABLE trace_tags ADD COLUMN team INTEGER", "ALTER TABLE spans ADD COLUMN n INTEGER")
    column = "ALTER TABLE spans ADD COLUMN tenant VARCHAR(20) NOT NULL DEFAULT ''"
    alter(store, column)
    with newer_mlflow(Column("finish_reason", String(50), nullable=True)):
        write = bulk_writer(store, Lock())
    record = Recorder(())
    records = [record(whole_trace(), 0) for _ in range(3)]
    for each in records:
        assert write("0", [each]) == [each]
    assert span_count(store) == 6
    assert len(inspect(store.engine).get_columns("spans")) == 18
    said = [found for found in caplog.records if found.levelno >= logging.ERROR]
    assert len(said) == 1
    assert "spans.finish_reason" in said[0].getMessage()
    assert "MLflow's own store, which is ten to thirty times slower" in said[0].getMessage()
