"""The database's schema at start: made where there is none, named with its command where it is another."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from mlflow.store.db.utils import _get_alembic_config, _get_latest_schema_revision, _get_schema_version
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import Engine, create_engine, inspect, text

from spanbridge.collector.errors import ConfigError, Held, Retryable
from spanbridge.collector.exporters.mlflow.database.bulk import BulkWriter
from spanbridge.collector.exporters.mlflow.database.schema import prepare_database

ONE_OLDER = "75868b020152"
WITHOUT_ANALYTICS = "17e22815139b"
"""Before the columns and tables of MLflow 3.17's trace analytics."""


@pytest.fixture(params=["sqlite", "postgresql"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/made/on/the/way/mlflow.db"
    return request.getfixturevalue("postgres").database(f"schema_{tmp_path.name}")


@pytest.fixture
def engine(uri: str) -> Iterator[Engine]:
    if uri.startswith("sqlite"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    engine = create_engine(uri)
    yield engine
    engine.dispose()


def migrate(engine: Engine, revision: str) -> None:
    InitialBase.metadata.create_all(engine)
    config = _get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_an_empty_database_is_initialised(uri: str):
    prepare_database(uri)
    prepare_database(uri)
    store = SqlAlchemyStore(uri, "/srv/artifacts")
    assert BulkWriter(store).off == ""
    assert _get_schema_version(store.engine) == _get_latest_schema_revision()
    store.engine.dispose()


def test_a_database_with_tables_of_others_is_initialised(uri: str, engine: Engine):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE invoices (id INTEGER)"))
    prepare_database(uri)
    assert _get_schema_version(engine) == _get_latest_schema_revision()


@pytest.mark.parametrize("revision", [ONE_OLDER, WITHOUT_ANALYTICS])
def test_an_older_database_is_refused_and_left_alone(uri: str, engine: Engine, revision: str):
    migrate(engine, revision)
    tables = set(inspect(engine).get_table_names())
    with pytest.raises(Held) as refused:
        prepare_database(uri)
    assert f"at revision {revision}" in str(refused.value)
    assert f"needs {_get_latest_schema_revision()}" in str(refused.value)
    assert f"mlflow db upgrade {shlex.quote(str(engine.url))}" in str(refused.value)
    assert _get_schema_version(engine) == revision
    assert set(inspect(engine).get_table_names()) == tables


def test_a_newer_database_asks_for_a_newer_mlflow(uri: str, engine: Engine):
    migrate(engine, "head")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'f00dfeed0000'"))
    with pytest.raises(Held, match=r"f00dfeed0000, which the installed MLflow .* does not know; install"):
        prepare_database(uri)


def test_a_database_out_of_reach_may_come_back_and_its_password_is_not_shown():
    with pytest.raises(Retryable) as refused:
        prepare_database("postgresql://bridge:hunter2@127.0.0.1:1/mlflow")
    assert not isinstance(refused.value, Held)
    assert "postgresql://bridge:***@127.0.0.1:1/mlflow" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("/var/lib/mlflow", "not a database"),
        ("nobody://host/mlflow", "not a database"),
        ("postgresql+nobody://host/mlflow", "not a database"),
        ("mysql+asyncmy://host/mlflow", "asyncmy is not installed"),
    ],
)
def test_a_uri_that_names_no_database_we_can_open(uri: str, problem: str):
    with pytest.raises(ConfigError, match=f"tracking_uri: .*{problem}"):
        prepare_database(uri)
