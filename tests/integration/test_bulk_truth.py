"""The bulk writer leaves the rows that MLflow's own endpoint leaves, in every table, for the same spans."""

from __future__ import annotations

from pathlib import Path

import pytest

from processors.types import Batch
from tests.integration.bulk_stores import (  # noqa: F401  fixtures
    Pair,
    fixture_databases,
    fixture_databases_of,
    fixture_pair,
    split,
)
from tests.postgres import fixture_postgres  # noqa: F401  a fixture
from tests.traces import bench_trace

CAPTURES = Path(__file__).parent.parent / "data" / "captures"
SETS = sorted({path.name.split(".0")[0] for path in CAPTURES.glob("*.pb") if ".logs." not in path.name})


def captured(name: str) -> list[Batch]:
    return [Batch.FromString(path.read_bytes()) for path in sorted(CAPTURES.glob(f"{name}.[0-9]*.pb"))]


@pytest.mark.parametrize("name", SETS)
def test_a_capture_as_whole_traces(pair: Pair, name: str):
    traces = split(captured(name))
    assert pair.write(traces) == []
    pair.assert_equal()


@pytest.mark.parametrize("name", SETS)
def test_a_capture_request_by_request(pair: Pair, name: str):
    for batch in captured(name):
        pair.write(split([batch]))
    pair.assert_equal()


@pytest.mark.parametrize("normalized", [False, True])
def test_the_bench_mix(pair: Pair, normalized: bool):
    assert pair.write([bench_trace(number, normalized=normalized) for number in range(30)]) == []
    pair.assert_equal()
