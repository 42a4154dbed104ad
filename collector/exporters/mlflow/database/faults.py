"""What an error of MLflow's store or of the database below it means for delivery.

MLflow hides the database's error: OperationalError becomes TEMPORARILY_UNAVAILABLE, every other one BAD_REQUEST,
which a race does too, and the rest INTERNAL_ERROR (mlflow/store/db/utils.py); the cause tells them apart.
"""

from __future__ import annotations

import re

from spanbridge.collector.errors import ConfigError, ExportError, Held, Permanent, Retryable
from spanbridge.collector.exporters.mlflow.server.rest import first_line

_LOCKED_OUT = re.compile(
    r"password authentication failed|no pg_hba.conf entry|Access denied|Unknown database|"
    r'(role|database) "[^"]*" does not exist|is not permitted to log in'
)
"""What PostgreSQL and MySQL answer to a wrong user, password or database name, in an OperationalError."""

MLFLOW = "pip install 'mlflow>=3.15'"
"""The releases that pyproject.toml admits."""

_DRIVERS = {"psycopg2": "postgresql", "psycopg": "postgresql", "pymysql": "mysql", "MySQLdb": "mysql"}
"""The extra that brings a driver, or the one that does the same."""

_UNDEFINED_TABLE = "42P01"
_NO_PRIVILEGE = "42501"
"""PostgreSQL's SQLSTATE, appendix A of its manual."""


def is_unknown(error: Exception) -> bool:
    """Return whether MLflow says that it doesn't know the experiment, trace or run."""
    return getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"


def database_fault(error: Exception, where: str) -> ExportError:
    """Return the exception for delivery that an error stands for.

    Args:
        error: Of MLflow's store, of SQLAlchemy, of a driver, or from importing one of them.
        where: The database, without its password; the sentence begins with it.
    """
    if isinstance(error, ImportError):
        return Held(f"{where}: {_missing(error)}")
    if isinstance(error, ConfigError):
        return Held(f"{where}: {'; '.join(error.problems)}")
    from sqlalchemy import exc  # noqa: PLC0415  only who has an error of it pays

    hidden = error.__cause__ if isinstance(error.__cause__, Exception) else error
    cause = error if isinstance(error, exc.SQLAlchemyError) else hidden
    return _of_sqlalchemy(cause, where) or _of_mlflow(error, cause, where)


def _missing(error: ImportError) -> str:
    """What could not be imported, and the mend."""
    module = error.name or ""
    if extra := _DRIVERS.get(module.partition(".")[0]):
        return f"the database driver {module} is not installed; install spanbridge[{extra}]"
    if module == "mlflow":
        return "mlflow is not installed, which writes to a tracking database; install it beside spanbridge"
    if module.startswith("mlflow."):
        return f"the installed MLflow does not fit, it has no {module}; install another release: {MLFLOW}"
    return f"{error}; install {module or 'what is missing'}"


def _of_sqlalchemy(cause: Exception, where: str) -> ExportError | None:
    from sqlalchemy import exc  # noqa: PLC0415  as above

    original = getattr(cause, "orig", None)
    said = f"{type(original or cause).__name__}: {first_line(str(original or cause))}"
    state = getattr(original, "pgcode", None) or getattr(original, "sqlstate", None)
    match cause:
        case exc.OperationalError() if _LOCKED_OUT.search(said):
            return Held(f"{where}: {said}; correct user, password or database in tracking_uri")
        case exc.DBAPIError() if state in (_UNDEFINED_TABLE, _NO_PRIVILEGE):
            return Held(f"{where}: {said}; grant this user the tables, or run `mlflow db upgrade`")
        case exc.DBAPIError(connection_invalidated=True):
            return Retryable(f"{where}: {said}")
        case exc.OperationalError() | exc.IntegrityError() | exc.TimeoutError() | exc.InvalidRequestError():
            return Retryable(f"{where}: {said}")
        case exc.DatabaseError() if isinstance(cause, exc.InternalError) or type(cause) is exc.DatabaseError:
            # The database speaks of itself: read-only after a failover (25006), a damaged file.
            return Retryable(f"{where}: {said}")
        case exc.ArgumentError() | exc.NoSuchModuleError():
            return Held(f"{where}: {said}; correct tracking_uri")
        case exc.StatementError():
            return Permanent(f"{where}: {said}")
    return None


def _of_mlflow(error: Exception, cause: Exception, where: str) -> ExportError:
    said = f"{where}: {type(cause).__name__}: {first_line(str(cause))}"
    if "out-of-date database schema" in said:
        return Held(f"{where}: the database schema is of another MLflow version; run `mlflow db upgrade`")
    if isinstance(cause, (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)):
        return Permanent(said)
    if getattr(error, "error_code", "") in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE"):
        return Permanent(said)
    return Retryable(said)
