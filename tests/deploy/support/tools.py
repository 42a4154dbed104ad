"""Programs that the tests of deployment run: from the PATH or from where tests/deploy/install-tools puts them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

_PLACES = (ROOT / "build/tools/bin", Path(sys.executable).parent)


def tool(name: str) -> str:
    """The path of a program; the test is skipped where it is missing."""
    path = shutil.which(name, path=os.pathsep.join([*map(str, _PLACES), os.environ.get("PATH", "")]))
    if path is None:
        pytest.skip(f"{name} is not installed; tests/deploy/install-tools does it")
    return path


def run(name: str, *arguments: str | Path, stdin: str = "", cwd: Path = ROOT) -> str:
    """What a program writes to standard output.

    Raises:
        AssertionError: it failed; with what it wrote.
    """
    done = attempt(name, *arguments, stdin=stdin, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def attempt(name: str, *arguments: str | Path, stdin: str = "", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """The end of a program, whatever it was."""
    command = [tool(name), *map(str, arguments)]
    return subprocess.run(command, input=stdin, cwd=cwd, capture_output=True, text=True, check=False)
