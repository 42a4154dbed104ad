"""COPY brings any text, number and null into PostgreSQL unchanged, by either driver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, Engine, Float, MetaData, String, Table, create_engine, select

from spanbridge.collector.exporters.mlflow.database.bulk.tables import _insert
from tests.servers.postgres import Cluster

TABLE = Table(
    "copied",
    MetaData(),
    Column("number", BigInteger, primary_key=True),
    Column("key", String),
    Column("text", String),
    Column("amount", Float(53)),
)
COLUMNS = [column.name for column in TABLE.columns]

words = st.text(st.characters(codec="utf-8", exclude_characters="\x00")) | st.sampled_from(
    ["", "\\", "\\N", "\\.", "\x1a", "\x1a\x1a", "\t", "\n", "\r\n", "\\\t\x1a\\x1a", "null"]
)
amounts = st.floats(allow_nan=False, allow_infinity=False) | st.none()


@pytest.fixture(scope="module", params=["psycopg", "psycopg2"])
def engine(postgres: Cluster, request: pytest.FixtureRequest) -> Iterator[Engine]:
    uri = postgres.database(f"copied_{request.param}")
    engine = create_engine(uri.replace("postgresql:", f"postgresql+{request.param}:"))
    TABLE.metadata.create_all(engine)
    yield engine
    engine.dispose()


@given(st.lists(st.tuples(words | st.none(), words | st.none(), amounts)))
@settings(max_examples=150, deadline=None)
def test_rows_arrive_as_they_are(engine: Engine, values: list[tuple[str | None, str | None, float | None]]):
    rows = [(number, *value) for number, value in enumerate(values)]
    with engine.connect() as connection, connection.begin() as transaction:
        _insert(engine.dialect, TABLE, COLUMNS)(rows)(connection)
        found = list(map(tuple, connection.execute(select(TABLE).order_by(TABLE.c.number))))
        transaction.rollback()
    assert found == rows


def test_more_than_a_piece_arrives(engine: Engine):
    rows = [(number, "key", "\\\t" * 200_000, None) for number in range(8)]
    with engine.connect() as connection, connection.begin() as transaction:
        _insert(engine.dialect, TABLE, COLUMNS)(rows)(connection)
        found = list(map(tuple, connection.execute(select(TABLE).order_by(TABLE.c.number))))
        transaction.rollback()
    assert found == rows
