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
from sqlalchemy import Engine, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError

from collector.errors import Held, Retryable

KNOWN_REVISION = "dc11669786a5"
"""The schema that the bulk path writes."""
KNOWN_SERIES = "3.17."
"""The releases of MLflow whose `log_spans` the bulk path reproduces."""


def prepare_database(tracking_uri: str) -> None:
    """Make sure that the database has the schema of the installed MLflow; give it one if it has none.

    To be called before a `SqlAlchemyStore` is made: that migrates an older database that lacks a table unasked.

    Raises:
        Held: the database has another schema; the text names the command to run.
        Retryable: the database can't be reached, or somebody else is initialising it.
    """
    shown = make_url(tracking_uri).render_as_string(hide_password=True)
    try:
        _make_parent_dirs_if_sqlite(tracking_uri)
        engine = create_sqlalchemy_engine(tracking_uri)
        try:
            _prepare(engine, shown)
        finally:
            engine.dispose()
    except SQLAlchemyError as error:
        reason = str(error).partition("\n")[0]
        raise Retryable(f"the tracking database {shown} can't be used: {reason}") from error


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
