"""Real destinations for all acceptance tests of a session, each test in an experiment of its own."""

from __future__ import annotations

import itertools

import pytest

from tests.servers.mlflow_servers import mlflow_server, postgres, postgres_bin

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def tracking_server(tmp_path_factory):
    """The address of a running `mlflow server`."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as uri:
        yield uri


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory):
    """The URI of a SQLite database that nobody has made yet."""
    return f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'mlflow.db'}"


@pytest.fixture(scope="session")
def postgresql():
    """The URI of an empty database on a running PostgreSQL."""
    if postgres_bin() is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres() as uri:
        yield uri


@pytest.fixture
def experiment():
    return f"acceptance {next(_numbers)}"
