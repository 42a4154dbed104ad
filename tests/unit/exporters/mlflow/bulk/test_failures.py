"""What the errors of the drivers mean for a batch."""

from __future__ import annotations

import sqlite3

import psycopg
import psycopg2.errors
import pymysql
import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from spanbridge.collector.exporters.mlflow.database.bulk.failures import Failure, Failures

SQLITE, PSYCOPG, PSYCOPG2, PYMYSQL = (
    "sqlite://",
    "postgresql+psycopg://host",
    "postgresql+psycopg2://host",
    "mysql+pymysql://host",
)


@pytest.mark.parametrize(
    ("url", "error", "kind"),
    [
        (SQLITE, sqlite3.IntegrityError("UNIQUE constraint failed"), Failure.CONFLICT),
        (SQLITE, sqlite3.OperationalError("database is locked"), Failure.DOWN),
        (SQLITE, sqlite3.DatabaseError("database disk image is malformed"), Failure.OTHER),
        (SQLITE, OverflowError("Python int too large to convert to SQLite INTEGER"), Failure.DATA),
        (SQLITE, UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), Failure.DATA),
        (SQLITE, PoolTimeoutError(), Failure.DOWN),
        (PSYCOPG, psycopg.errors.UniqueViolation(), Failure.CONFLICT),
        (PSYCOPG, psycopg.errors.ForeignKeyViolation(), Failure.CONFLICT),
        (PSYCOPG, psycopg.errors.DeadlockDetected(), Failure.AGAIN),
        (PSYCOPG, psycopg.errors.SerializationFailure(), Failure.AGAIN),
        (PSYCOPG, psycopg.errors.CharacterNotInRepertoire(), Failure.DATA),
        (PSYCOPG, psycopg.errors.StringDataRightTruncation(), Failure.DATA),
        (PSYCOPG, psycopg.OperationalError("server closed the connection"), Failure.DOWN),
        (PSYCOPG, psycopg.errors.DiskFull(), Failure.DOWN),
        (PSYCOPG, psycopg.errors.InsufficientPrivilege(), Failure.OTHER),
        (PSYCOPG2, psycopg2.errors.UniqueViolation(), Failure.CONFLICT),
        (PSYCOPG2, psycopg2.errors.StringDataRightTruncation(), Failure.DATA),
        (PYMYSQL, pymysql.err.IntegrityError(1062, "Duplicate entry"), Failure.CONFLICT),
        (PYMYSQL, pymysql.err.OperationalError(1213, "Deadlock found"), Failure.AGAIN),
        (PYMYSQL, pymysql.err.OperationalError(1205, "Lock wait timeout exceeded"), Failure.AGAIN),
        (PYMYSQL, pymysql.err.DataError(1406, "Data too long"), Failure.DATA),
        (PYMYSQL, pymysql.err.OperationalError(2006, "MySQL server has gone away"), Failure.DOWN),
    ],
)
def test_the_kind_of_an_error(url: str, error: Exception, kind: Failure):
    failures = Failures(create_engine(url).dialect)
    assert isinstance(error, failures.types)
    assert failures.kind(error) is kind
    if not isinstance(error, PoolTimeoutError):
        assert failures.kind(DBAPIError("INSERT", None, error)) is kind
