"""What an error of MLflow's store or of the database below it means for delivery.

MLflow hides the database's error: OperationalError becomes TEMPORARILY_UNAVAILABLE, every other one BAD_REQUEST,
which a race does too, and the rest INTERNAL_ERROR (mlflow/store/db/utils.py); the cause tells them apart.
"""

from __future__ import annotations

import re

from spanbridge.collector.errors import ExportError, Held, Permanent, Retryable
from spanbridge.collector.exporters.mlflow.server.rest import first_line

_LOCKED_OUT = re.compile(
    r"password authentication failed|no pg_hba.conf entry|Access denied|Unknown database|"
    r'(role|database) "[^"]*" does not exist|is not permitted to log in'
)
"""What PostgreSQL and MySQL answer to a wrong user, password or database name, in an OperationalError."""

_UNDEFINED_TABLE = "42P01"
_NO_PRIVILEGE = "42501"
"""PostgreSQL's SQLSTATE, appendix A of its manual."""


def is_unknown(error: Exception) -> bool:
    """Whether MLflow says that it doesn't know the experiment, trace or run."""
    return getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"


def database_fault(error: Exception, where: str) -> ExportError:
    """The exception for delivery."""
    if isinstance(error, ImportError):
        return Held(f"{where}: {error.name} is not installed; install spanbridge[postgresql] or spanbridge[mysql]")
    from sqlalchemy import exc  # noqa: PLC0415  only who has an error of it pays

    hidden = error.__cause__ if isinstance(error.__cause__, Exception) else error
    cause = error if isinstance(error, exc.SQLAlchemyError) else hidden
    return _of_sqlalchemy(cause, where) or _of_mlflow(error, cause, where)


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
