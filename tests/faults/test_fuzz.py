"""Hostile bytes at everything that parses: a documented answer or a documented error, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.support.fuzz import CORPUS
from tests.faults.support.sizes import FUZZ_RUNS, SEED
from tests.paths import ROOT

TARGETS = sorted(path.name for path in CORPUS.iterdir() if path.is_dir())


def fuzz(folder: Path, target: str, runs: int) -> None:
    command = [sys.executable, "-m", "tests.faults.support.fuzz", target, f"-runs={runs}", f"-seed={SEED}"]
    command += [f"-artifact_prefix={folder}/", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    print(done.stderr[-2000:])
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("target", TARGETS)
def test_the_seeds_and_a_few_more(target, tmp_path):
    fuzz(tmp_path, target, 200)


@pytest.mark.slow
@pytest.mark.timeout(120 + FUZZ_RUNS // 50)
@pytest.mark.parametrize("target", TARGETS)
def test_many_more(target, tmp_path):
    fuzz(tmp_path, target, FUZZ_RUNS)
