"""Run end to end with each release of MLflow under each Python; print a table in Markdown.

    python -m tests.matrix --mlflow 3.15.2 3.17.2 --python 3.11 3.13

What runs is real requests of real instrumentations through the program, into SQLite and into that MLflow's own server,
with every fact that MLflow should show of them, and every span there once. Where bulk rows can be written, also that
they are those which that MLflow's own endpoint leaves. A pair takes two minutes, the first time two more to install.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

from tests.matrix.environments import CACHE, Missing, Pair, install
from tests.paths import ROOT

MLFLOW = ("3.15.2", "3.16.1", "3.17.2")
"""Of each minor release that pyproject.toml admits the newest patch."""
FIRST_WITH_BULK = (3, 17)
END_TO_END = ("tests/acceptance/test_captures.py",)
BULK_ROWS = ("tests/integration/mlflow/bulk/test_truth.py",)
MOST_SECONDS = 900


class Result(NamedTuple):
    """A line of the table."""

    pair: Pair
    passed: bool
    said: str
    seconds: float


def main(arguments: Sequence[str]) -> int:
    """Return 0 if every pair passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--mlflow", nargs="+", default=MLFLOW, metavar="VERSION", help="releases of MLflow")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    parser.add_argument("--python", nargs="+", default=[here], metavar="VERSION", help="versions or paths of Python")
    options = parser.parse_args(arguments)
    CACHE.mkdir(parents=True, exist_ok=True)
    results = [measure(Pair(*pair)) for pair in product(options.mlflow, options.python)]
    print("\n".join(table(results)))
    return 0 if all(result.passed for result in results) else 1


def measure(pair: Pair) -> Result:
    """Install a pair and run its tests; what they print goes to stderr if they fail."""
    started = time.monotonic()
    try:
        passed, said = run(pair, str(install(pair)))
    except Missing as problem:
        passed, said = False, f"not installed: {problem}"
    except subprocess.TimeoutExpired:
        passed, said = False, f"not done within {MOST_SECONDS} s"
    return Result(pair, passed, said, time.monotonic() - started)


def run(pair: Pair, python: str) -> tuple[bool, str]:
    """Whether the tests of a pair pass, and pytest's last line."""
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not postgresql", *modules(pair.mlflow)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=MOST_SECONDS,
        check=False,
    )
    if done.returncode:
        print(f"--- {pair.mlflow}, Python {pair.python}\n{done.stdout}{done.stderr}", file=sys.stderr)
    return done.returncode == 0, next(iter(done.stdout.strip().splitlines()[-1:]), "nothing ran").strip("= ")


def modules(mlflow: str) -> tuple[str, ...]:
    """The test modules for a release of MLflow."""
    release = tuple(map(int, re.findall(r"\d+", mlflow)[:2]))
    return END_TO_END + (BULK_ROWS if release >= FIRST_WITH_BULK else ())


def table(results: Iterable[Result]) -> list[str]:
    """The lines of a table in Markdown."""
    head = ["| MLflow | Python | | tests | seconds |", "|---|---|---|---|---|"]
    return head + [
        f"| {pair.mlflow} | {pair.python} | {'pass' if passed else 'FAIL'} | {said} | {seconds:.0f} |"
        for pair, passed, said, seconds in results
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
