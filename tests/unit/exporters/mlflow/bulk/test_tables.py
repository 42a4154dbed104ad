"""Statements and columns: every column of MLflow's tables, few statements, many rows each."""

from __future__ import annotations

import pytest
from mlflow.store.tracking.dbmodels.models import SqlEntityAssociation, SqlSpan, SqlTraceInfo, SqlTraceMetadata
from pymysql.cursors import RE_INSERT_VALUES
from sqlalchemy import Column, Connection, Integer, MetaData, Table, create_engine, func, select

from spanbridge.collector.exporters.mlflow.database.bulk import spans, tables, traces
from spanbridge.collector.exporters.mlflow.database.bulk.tables import Tables, _insert


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        (SqlTraceInfo, traces.INFO_COLUMNS),
        (SqlSpan, spans.COLUMNS),
        (SqlTraceMetadata, tables._PAIR),
        (SqlEntityAssociation, tables._ASSOCIATION),
    ],
)
def test_every_column_is_written(model: type, columns: tuple[str, ...]):
    expected = [column.name for column in model.__table__.columns if column.computed is None]
    assert sorted(columns) == sorted(expected)


class Recorder:
    """A connection that keeps the statements."""

    def __init__(self, connection: Connection | None = None) -> None:
        self.statements: list[str] = []
        self._connection = connection

    def exec_driver_sql(self, statement: str, parameters: object) -> None:
        self.statements.append(statement)
        if self._connection is not None:
            self._connection.exec_driver_sql(statement, parameters)


def test_sqlite_gets_all_rows_by_few_statements():
    table = Table("numbers", MetaData(), Column("number", Integer), Column("twice", Integer))
    engine = create_engine("sqlite://")
    table.metadata.create_all(engine)
    ready = _insert(engine.dialect, table, ["number", "twice"])
    sizes = [0, 1, 2, 3, 1023, 1024, 1025, 20_000]
    with engine.begin() as connection:
        recorder = Recorder(connection)
        for size in sizes:
            ready([(number, 2 * number) for number in range(size)])(recorder)
        assert connection.scalar(select(func.count()).select_from(table)) == sum(sizes)
        assert connection.scalar(select(func.count()).where(table.c.twice == 2 * table.c.number)) == sum(sizes)
    engine.dispose()  # else Python 3.13 warns of an open database, in whichever test comes when it is collected
    assert len(set(recorder.statements)) <= 14
    assert len(recorder.statements) < 45


@pytest.mark.parametrize("model", [SqlTraceInfo, SqlSpan, SqlTraceMetadata, SqlEntityAssociation])
def test_mysqls_driver_makes_one_insert_of_many_rows(model: type):
    table = model.__table__
    recorder = Recorder()
    columns = [column.name for column in table.columns]
    _insert(create_engine("mysql+pymysql://host").dialect, table, columns)([("x",) * len(columns)])(recorder)
    assert RE_INSERT_VALUES.match(recorder.statements[0])
    assert "`key`" in recorder.statements[0] or "key" not in columns


def test_a_database_it_has_no_way_into():
    with pytest.raises(LookupError, match=r"mysql\+aiomysql"):
        Tables(create_engine("mysql+aiomysql://host", module=pytest.importorskip("pymysql")).dialect)
