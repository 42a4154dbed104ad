"""Real databases for the suite."""

from __future__ import annotations

import pytest

from tests.servers.mlflow_servers import postgres, postgres_bin


@pytest.fixture(scope="session")
def postgresql():
    """The URI of an empty database on a running PostgreSQL."""
    if postgres_bin() is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres() as uri:
        yield uri
