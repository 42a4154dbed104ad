"""A real MLflow server for all acceptance tests of a session, each in an experiment of its own."""

from __future__ import annotations

import itertools

import pytest

from tests.mlflow_servers import mlflow_server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def tracking_server(tmp_path_factory):
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as uri:
        yield uri


@pytest.fixture
def experiment():
    return f"acceptance {next(_numbers)}"
