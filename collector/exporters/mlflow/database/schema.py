"""The schema of the tracking database: made where there is none, refused where it is not the installed MLflow's."""

from __future__ import annotations

import shlex

from alembic.script import ScriptDirectory
from alembic.util import CommandError
from mlflow.store.db.utils import (
    _get_alembic_config,
    _get_latest_schema_revision,
    _get_schema_version,
    _make_parent_dirs_if_sqlite,
    _safe_initialize_tables,
    create_sqlalchemy_engine,
)
from mlflow.version import VERSION
from sqlalchemy import Engine, inspect
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from spanbridge.collector.errors import ConfigError, Held, Retryable


def prepare_database(tracking_uri: str) -> None:
    """Make sure that the database has the schema of the installed MLflow; give it one if it has none.

    To be called before a `SqlAlchemyStore` is made: that migrates an older database that lacks a table unasked.

    Args:
        tracking_uri: The database's.

    Raises:
        ConfigError: The URI is no database's, or the driver it asks for is not installed.
        Held: The database has another schema; the text names the command to run.
        Retryable: The database can't be reached, or somebody else is initialising it.
    """
    engine = _engine(tracking_uri)
    shown = engine.url.render_as_string(hide_password=True)
    try:
        _prepare(engine, shown)
    except SQLAlchemyError as error:
        reason = str(error).partition("\n")[0]
        raise Retryable(f"the tracking database {shown} can't be used: {reason}") from error
    finally:
        engine.dispose()


def _engine(tracking_uri: str) -> Engine:
    try:
        _make_parent_dirs_if_sqlite(tracking_uri)
        engine: Engine = create_sqlalchemy_engine(tracking_uri)
    except ArgumentError as error:
        raise ConfigError(["tracking_uri: this is not a database; write for example sqlite:///mlflow.db"]) from error
    except ModuleNotFoundError as error:
        mend = "install it, or name one that is, as in mysql+pymysql://... or postgresql+psycopg://..."
        raise ConfigError([f"tracking_uri: the database driver {error.name} is not installed; {mend}"]) from error
    return engine


def _prepare(engine: Engine, shown: str) -> None:
    found = _get_schema_version(engine)
    if found is None and "experiments" not in inspect(engine).get_table_names():
        _safe_initialize_tables(engine)
        return
    expected = _get_latest_schema_revision()
    if found == expected:
        return
    problem = f"the schema of the tracking database {shown} is at revision {found}"
    if found is not None and not _is_known(found):
        raise Held(
            f"{problem}, which the installed MLflow {VERSION} does not know; install the MLflow that its server runs"
        )
    raise Held(
        f"{problem}, MLflow {VERSION} needs {expected}; make a backup, stop the writers of the older version and run: "
        f"mlflow db upgrade {shlex.quote(shown)}"
    )


def _is_known(revision: str) -> bool:
    """Whether the installed MLflow has a migration to this revision."""
    try:
        ScriptDirectory.from_config(_get_alembic_config("")).get_revision(revision)
    except CommandError:
        return False
    return True
