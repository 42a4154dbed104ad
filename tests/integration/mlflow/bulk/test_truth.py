"""The bulk writer leaves the rows that MLflow's own endpoint leaves, in every table, for the same spans."""

from __future__ import annotations

import pytest

from spanbridge.processors.types import Batch
from tests.integration.mlflow.bulk.stores import (  # noqa: F401  fixtures
    Pair,
    fixture_databases,
    fixture_pair,
    split,
)
from tests.paths import DATA
from tests.samples.traces import bench_trace

CAPTURES = DATA / "captures"
SETS = sorted({path.name.split(".0")[0] for path in CAPTURES.glob("*.pb") if ".logs." not in path.name})


def captured(name: str) -> list[Batch]:
    return [Batch.FromString(path.read_bytes()) for path in sorted(CAPTURES.glob(f"{name}.[0-9]*.pb"))]


def test_captures_as_whole_traces(pair: Pair):
    for name in SETS:
        traces = split(captured(name))
        assert pair.write(traces) == [], name
        pair.assert_equal(trace.trace_id for trace in traces)
    pair.assert_equal()


def test_captures_request_by_request(pair: Pair):
    for name in SETS:
        for batch in captured(name):
            traces = split([batch])
            pair.write(traces)
            pair.assert_equal(trace.trace_id for trace in traces)
    pair.assert_equal()


@pytest.mark.parametrize("normalized", [False, True])
def test_the_bench_mix(pair: Pair, normalized: bool):
    assert pair.write([bench_trace(number, normalized=normalized) for number in range(30)]) == []
    pair.assert_equal()
