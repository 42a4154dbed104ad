"""The Pythons beside that of the working environment: `python -m tests.pythons [3.12 3.13]`.

Each gets an environment of its own in build/pythons, and runs the unit tests and the quick start in it. A Python that
is not there is left out with a word; under CI=true that is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.paths import ROOT

VERSIONS = ("3.12", "3.13")
TESTS = ("tests/unit", "tests/acceptance/test_quick_start.py")


def find(version: str) -> Path | None:
    """The newest interpreter of a minor version that pyenv has, or else the one that PATH has."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    patches = {int(folder.name.rpartition(".")[2]): folder for folder in root.glob(f"versions/{version}.*[0-9]")}
    if patches:
        return patches[max(patches)] / "bin/python"
    found = shutil.which(f"python{version}")
    return Path(found) if found else None


def run(python: Path, folder: Path) -> bool:
    """Whether the tests pass in a new environment of this Python."""
    environment = dict(os.environ)
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "SPANBRIDGE_TEST_PYTHON"):
        environment.pop(name, None)

    def done(*command: str | Path) -> bool:
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0

    own = folder / "bin/python"
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", "constraints.txt")
    return (
        done(python, "-m", "venv", "--clear", folder)
        and done(own, *install, "--editable", ".[test]")
        and done(own, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow", *TESTS)
    )


def main(versions: tuple[str, ...]) -> int:
    """Try each; 0 if all that are there pass, and under CI all are there."""
    outcomes = {}
    for version in versions:
        started = time.monotonic()
        python = find(version)
        if python is None:
            outcomes[version] = "not installed"
            continue
        passed = run(python, ROOT / "build/pythons" / version)
        outcomes[version] = f"{'passed' if passed else 'FAILED'} in {time.monotonic() - started:.0f} s"
    for version, outcome in outcomes.items():
        print(f"Python {version}: {outcome}")
    missing = os.environ.get("CI") == "true" and "not installed" in outcomes.values()
    return int(missing or any("FAILED" in outcome for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or VERSIONS))
