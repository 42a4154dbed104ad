"""The wall clock jumps, and nothing but the ages that are shown depends on it."""

from __future__ import annotations

import ast
import random
import time

from tests.faults.support.downstreams import Downstream, memory
from tests.faults.support.flow import flowing
from tests.faults.support.sizes import SEED
from tests.paths import ROOT
from tests.polling import until
from tests.samples.spans import trace_batch

DAY = 86_400.0
WALL_CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}

SHOWN = {
    "collector/extensions/__init__.py": "since when it has been up",
    "collector/extensions/health_check/build.py": "how long it has been up",
    "collector/exporters/mlflow/database/bulk/traces.py": "creation time of a row",
    "collector/exporters/mlflow/exporter.py": "the end of a trace whose spans have none",
    "collector/exporters/mlflow/server/rest.py": "Retry-After with a date",
    "collector/net/retry_after.py": "Retry-After with a date",
    "collector/journal/sqlite/dead_letters.py": "when a row came, for its age",
    "collector/journal/memory.py": "when a row came, for its age",
    "collector/journal/sqlite/salvage.py": "the name of a damaged file",
    "collector/journal/sqlite/journal.py": "when a row came, for its age",
    "collector/journal/sqlite/statements.py": "when a span was set aside",
    "collector/receivers/otlp/http_server.py": "the Date header",
}
"""Who reads the wall clock, and what for. A date in Retry-After is bounded (collector/flow/backoff.py)."""


def readers() -> set[str]:
    """The modules that name the wall clock."""
    found = set()
    for path in [*ROOT.glob("collector/**/*.py"), *ROOT.glob("processors/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in WALL_CLOCKS:
                found.add(str(path.relative_to(ROOT)))
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                assert not {alias.name for alias in node.names} & {"time", "time_ns"}, path
    return found


def test_nothing_but_what_is_shown_reads_the_wall_clock():
    assert readers() == set(SHOWN)


async def test_a_clock_that_jumps_by_days_delays_and_loses_nothing(tmp_path, monkeypatch):
    dice, real = random.Random(SEED), time.time

    def jumping() -> float:
        return real() + dice.choice((-30, -1, 0, 1, 30)) * DAY

    monkeypatch.setattr(time, "time", jumping)
    there = Downstream()
    async with memory(there) as exporter, flowing(tmp_path, exporter, clock=jumping) as ground:
        started = time.monotonic()
        for _ in range(50):
            await ground.put(trace_batch())
            assert ground.journal.state().oldest_age >= 0
        await until(ground.settled, seconds=10)
        assert time.monotonic() - started < 5
    assert set(there.taken) == ground.acknowledged
