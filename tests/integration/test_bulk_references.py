"""PostgreSQL does not look up what rows refer to for a role that was granted to do without; nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from collector.exporters.mlflow.bulk import BulkWriter
from collector.exporters.mlflow.bulk.references import leave_out_references
from tests.integration.bulk_stores import ARTIFACTS, Databases, DatabasesOf, Pair, left
from tests.postgres import Cluster
from tests.traces import bench_trace

RIGHT = "SET ON PARAMETER session_replication_role"
ROLE, SUPERUSER = "bridge", "postgres"
TRIGGER = """
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER noted AFTER INSERT ON trace_tags FOR EACH ROW EXECUTE FUNCTION note()
"""


@pytest.fixture(scope="module", name="databases")
def _databases(databases_of: DatabasesOf) -> Databases:
    return databases_of("postgresql")


@pytest.fixture(scope="module", name="granted")
def _granted(postgres: Cluster) -> Iterator[None]:
    """The role of a bridge, with the right."""
    if postgres.version < 15:
        pytest.skip("PostgreSQL is older than 15, which is the first to grant such a right")
    postgres.run(f"CREATE ROLE {ROLE} LOGIN")
    postgres.run(f"GRANT {RIGHT} TO {ROLE}")
    yield
    postgres.run(f"REVOKE {RIGHT} FROM {ROLE}")


@pytest.fixture(name="uri")
def _uri(databases: Databases, granted: None) -> str:
    """A database that the role may write to, as the superuser reaches it."""
    uri = databases.new()
    run(
        uri,
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {ROLE}",
    )
    SqlAlchemyStore(uri, ARTIFACTS).engine.dispose()  # makes the default experiment
    return uri


@pytest.fixture(name="engine")
def _engine(uri: str) -> Iterator[Engine]:
    """As the role reaches the database."""
    engine = create_engine(by_role(uri))
    yield engine
    engine.dispose()


def by_role(uri: str) -> str:
    return uri.replace(f"//{SUPERUSER}@", f"//{ROLE}@")


def run(uri: str, statements: str) -> None:
    with create_engine(uri, poolclass=NullPool).begin() as connection:
        connection.execute(text(statements))


def roles(engine: Engine, experiment_id: int = 0) -> tuple[str, str]:
    """The replication role in a transaction, and after it."""
    with engine.connect() as connection:
        leave_out_references(connection, experiment_id)
        within = connection.scalar(text("SHOW session_replication_role"))
        connection.commit()
        return within, connection.scalar(text("SHOW session_replication_role"))


def test_for_the_transaction_of_a_role_that_was_granted_it(engine: Engine):
    assert roles(engine) == ("replica", "origin")


def test_not_for_a_superuser_who_was_granted_nothing(uri: str):
    assert roles(create_engine(uri, poolclass=NullPool)) == ("origin", "origin")


def test_the_right_can_be_taken_back_at_any_time(postgres: Cluster, engine: Engine):
    assert roles(engine) == ("replica", "origin")
    postgres.run(f"REVOKE {RIGHT} FROM {ROLE}")
    assert roles(engine) == ("origin", "origin")
    postgres.run(f"GRANT {RIGHT} TO {ROLE}")


def test_not_where_a_trigger_would_not_fire(uri: str, engine: Engine):
    run(uri, TRIGGER)
    assert roles(engine) == ("origin", "origin")


def test_not_for_a_role_that_may_not_lock_the_experiment(uri: str, engine: Engine):
    run(uri, f"REVOKE UPDATE ON experiments FROM {ROLE}")
    assert roles(engine) == ("origin", "origin")


def test_not_for_an_experiment_that_is_not_there(engine: Engine):
    assert roles(engine, 4711) == ("origin", "origin")


def test_the_experiment_stays_until_the_transaction_has_ended(uri: str, engine: Engine):
    with engine.connect() as connection:
        leave_out_references(connection, 0)
        with pytest.raises(OperationalError, match="lock timeout"):
            run(uri, "SET lock_timeout = '100ms'; DELETE FROM experiments WHERE experiment_id = 0")


def test_no_other_database_is_asked(databases_of: DatabasesOf):
    with databases_of("sqlite").store() as store, store.engine.connect() as connection:
        leave_out_references(connection, 0)


@pytest.fixture(name="pair")
def _pair(databases: Databases, uri: str) -> Iterator[Pair]:
    """MLflow's endpoint, and a bulk writer by the role."""
    ours = SqlAlchemyStore(by_role(uri), ARTIFACTS)
    with databases.store() as truth:
        yield Pair(truth, ours, BulkWriter(ours))
    ours.engine.dispose()


def test_rows_are_those_of_mlflow(pair: Pair):
    traces = list(map(bench_trace, range(20)))
    assert pair.write(traces) == []
    pair.assert_equal()


def test_a_known_trace_comes_back_and_one_for_an_experiment_that_went_away(pair: Pair):
    known, new, lost = map(bench_trace, range(3))
    assert left(pair.writer, [known]) == []
    assert left(pair.writer, [known, new]) == [known]
    experiment_id = pair.ours.create_experiment("short-lived")
    assert left(pair.writer, [], experiment_id) == []
    with pair.ours.engine.begin() as connection:
        connection.execute(text("DELETE FROM experiments WHERE name = 'short-lived'"))
    assert left(pair.writer, [lost], experiment_id) == [lost]


def test_deleting_a_trace_takes_all_of_it(pair: Pair):
    some = bench_trace(1)
    assert left(pair.writer, [some]) == []
    pair.ours.delete_traces("0", trace_ids=[f"tr-{some.trace_id.hex()}"])
    with pair.ours.engine.connect() as connection:
        for table in ("trace_info", "spans", "trace_tags", "trace_request_metadata"):
            assert connection.scalar(text(f"SELECT count(*) FROM {table}")) == 0
