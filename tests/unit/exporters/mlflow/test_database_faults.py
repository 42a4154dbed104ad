"""What an error of the database means for delivery."""

import pytest
from sqlalchemy import exc

from spanbridge.collector.errors import ConfigError, Held, Permanent, Retryable
from spanbridge.collector.exporters.mlflow.database.faults import database_fault


class DriverError(Exception):
    """What psycopg or sqlite3 raised, with PostgreSQL's SQLSTATE."""

    def __init__(self, message, state=None):
        super().__init__(message)
        self.sqlstate = state


def raised(kind, message, state=None):
    return kind("INSERT", {}, DriverError(message, state))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (raised(exc.OperationalError, "server closed the connection unexpectedly"), Retryable),
        (raised(exc.OperationalError, "database is locked"), Retryable),
        (raised(exc.OperationalError, "deadlock detected", "40P01"), Retryable),
        (raised(exc.IntegrityError, "duplicate key", "23505"), Retryable),
        (raised(exc.InternalError, "cannot execute INSERT in a read-only transaction", "25006"), Retryable),
        (raised(exc.DatabaseError, "database disk image is malformed"), Retryable),
        (exc.TimeoutError("QueuePool limit reached"), Retryable),
        (raised(exc.OperationalError, 'password authentication failed for user "a"'), Held),
        (raised(exc.OperationalError, 'role "a" is not permitted to log in', "28000"), Held),
        (raised(exc.ProgrammingError, "relation does not exist", "42P01"), Held),
        (raised(exc.ProgrammingError, "permission denied", "42501"), Held),
        (exc.ArgumentError("could not parse URL"), Held),
        (ImportError(name="psycopg2"), Held),
        (raised(exc.DataError, "invalid input syntax", "22P02"), Permanent),
        (raised(exc.ProgrammingError, "syntax error", "42601"), Permanent),
        (raised(exc.NotSupportedError, "no"), Permanent),
        (ValueError("a bad value"), Permanent),
        (OSError("no space left on device"), Retryable),
    ],
)
def test_what_an_error_means(error, kind):
    fault = database_fault(error, "postgresql://db")
    assert type(fault) is kind
    assert str(fault).startswith("postgresql://db: ")
    assert "INSERT" not in str(fault) or "cannot execute INSERT" in str(fault)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("psycopg2", "the database driver psycopg2 is not installed; install spanbridge[postgresql]"),
        ("psycopg", "the database driver psycopg is not installed; install spanbridge[postgresql]"),
        ("pymysql", "the database driver pymysql is not installed; install spanbridge[mysql]"),
        ("mlflow", "mlflow is not installed"),
        (
            "mlflow.store.db.utils",
            "the installed MLflow does not fit, it has no mlflow.store.db.utils; install",
        ),
        ("orjson", "No module named 'orjson'; install orjson"),
    ],
)
def test_what_can_not_be_imported_is_told_with_its_own_mend(module, said):
    error = ModuleNotFoundError(f"No module named {module!r}", name=module)
    assert str(database_fault(error, "postgresql://db")).startswith(f"postgresql://db: {said}")


def test_a_wrong_address_is_told_without_the_name_of_a_class():
    fault = database_fault(ConfigError(["tracking_uri: this is not a database"]), "x://db")
    assert type(fault) is Held
    assert str(fault) == "x://db: tracking_uri: this is not a database"
