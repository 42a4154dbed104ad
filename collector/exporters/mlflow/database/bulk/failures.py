"""What a database's error means for a batch that is being written."""

from __future__ import annotations

from enum import Enum, auto

from sqlalchemy import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

_AGAIN = frozenset({"40001", "40P01", 1205, 1213})
"""SQLSTATE of PostgreSQL's serialization failure and deadlock; MySQL's lock wait timeout and deadlock."""

_TOO_LARGE = frozenset({"54000", 1153})
"""PostgreSQL: a value is too long for an index. MySQL: longer than max_allowed_packet. Both are OperationalErrors."""


class Failure(Enum):
    """The kinds of failures that ask for different answers."""

    CONFLICT = auto()
    """A row is there already, or its experiment no longer is."""
    AGAIN = auto()
    """Deadlock or serialization failure: the same may work at once."""
    DATA = auto()
    """A value is refused: some trace of the batch is bad."""
    DOWN = auto()
    """The database can't be reached, is locked or out of room."""
    OTHER = auto()


class Failures:
    """The errors of one database driver; COPY raises the driver's own, everything else SQLAlchemy's around them."""

    def __init__(self, dialect: Dialect) -> None:
        self._driver = dialect.loaded_dbapi
        self.types = (DBAPIError, PoolTimeoutError, self._driver.Error, UnicodeError, OverflowError)

    def kind(self, error: Exception) -> Failure:
        """Tell which kind of failure an error of `types` is."""
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        driver = self._driver
        code = _code(cause)
        if code in _AGAIN:
            return Failure.AGAIN
        if code in _TOO_LARGE:
            return Failure.DATA
        if isinstance(cause, driver.IntegrityError):
            return Failure.CONFLICT
        if isinstance(cause, (driver.DataError, UnicodeError, OverflowError)):
            return Failure.DATA
        if isinstance(cause, (driver.OperationalError, PoolTimeoutError)):
            return Failure.DOWN
        return Failure.OTHER


def _code(cause: BaseException) -> object:
    """SQLSTATE (psycopg: sqlstate, psycopg2: pgcode), or MySQL's error number."""
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or next(iter(cause.args), None)
