"""What takes seconds to make is made once for all modules."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.servers.postgres import fixture_postgres  # noqa: F401  a fixture

if TYPE_CHECKING:
    from tests.integration.mlflow.bulk.stores import Databases


@pytest.fixture(scope="session")
def databases_of(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Databases]:
    """Databases with MLflow's schema, of "sqlite" or "postgresql"."""

    @cache
    def make(kind: str) -> Databases:
        from tests.integration.mlflow.bulk.stores import Databases  # noqa: PLC0415  imports MLflow's server

        cluster = request.getfixturevalue("postgres") if kind == "postgresql" else None
        return Databases(tmp_path_factory.mktemp("databases"), cluster)

    return make
