"""PostgreSQL does not look up what rows refer to for a role that was granted to do without; nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import OperationalError

from spanbridge.collector.exporters.mlflow.database.bulk import BulkWriter
from spanbridge.collector.exporters.mlflow.database.bulk.foreign_keys import FIRST_WITH_GRANTS, leave_out_references
from tests.integration.mlflow.bulk.stores import ARTIFACTS, Databases, DatabasesOf, Pair, left
from tests.samples.traces import bench_trace
from tests.servers.postgres import Cluster

RIGHT = "SET ON PARAMETER session_replication_role"
ROLE = "bridge"
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
    if postgres.version < FIRST_WITH_GRANTS:
        pytest.skip(f"PostgreSQL is older than {FIRST_WITH_GRANTS}, which is the first to grant such a right")
    postgres.run(f"CREATE ROLE {ROLE} LOGIN")
    postgres.run(f"GRANT {RIGHT} TO {ROLE}")
    yield
    postgres.run(f"REVOKE {RIGHT} FROM {ROLE}")


@pytest.fixture(name="uri")
def _uri(databases: Databases, granted: None) -> str:
    """A database with MLflow's default experiment, as the superuser reaches it."""
    uri = databases.new()
    SqlAlchemyStore(uri, ARTIFACTS).engine.dispose()
    return uri


@pytest.fixture(name="by_role")
def _by_role(postgres: Cluster, uri: str) -> str:
    """The same, as the role reaches it."""
    return postgres.let_in(ROLE, uri)


@pytest.fixture(name="engine")
def _engine(by_role: str) -> Iterator[Engine]:
    """As the role reaches the database."""
    engine = create_engine(by_role)
    yield engine
    engine.dispose()


def run(uri: str, statements: str) -> None:
    with create_engine(uri, poolclass=NullPool).begin() as connection:
        connection.execute(text(statements))


def role_of(connection: Connection) -> str:
    return connection.exec_driver_sql("SHOW session_replication_role").scalar_one()


def roles(engine: Engine, experiment_id: int = 0) -> tuple[str, str]:
    """The replication role in a transaction, and after it."""
    with engine.connect() as connection:
        leave_out_references(connection, experiment_id)
        within = role_of(connection)
        connection.commit()
        return within, role_of(connection)


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
def _pair(databases: Databases, by_role: str) -> Iterator[Pair]:
    """MLflow's endpoint, and a bulk writer by the role."""
    ours = SqlAlchemyStore(by_role, ARTIFACTS)
    with databases.store() as truth:
        yield Pair(truth, ours, BulkWriter(ours))
    ours.engine.dispose()


def test_rows_are_those_of_mlflow(pair: Pair):
    """And it is without look-ups that they are written."""
    within = []
    event.listen(pair.ours.engine, "commit", lambda connection: within.append(role_of(connection)))
    traces = list(map(bench_trace, range(20)))
    assert pair.write(traces) == []
    assert "replica" in within
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
