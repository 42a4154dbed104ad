"""A virtual environment for each pair of an MLflow and a Python, kept for the next time."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.paths import ROOT

CACHE = Path(os.environ.get("SPANBRIDGE_MATRIX_DIR") or Path(tempfile.gettempdir(), "spanbridge-matrix"))
"""Where the environments are; each takes about 1 GB."""
TOOLS = ("cryptography", "hypothesis", "jsonschema", "pytest>=8", "pytest-asyncio>=0.23", "pytest-timeout>=2.3")
"""What the tests need that run in them."""


class Missing(Exception):
    """What a pair asks for is not there; the text says what."""


@dataclass(frozen=True)
class Pair:
    """A release of MLflow ("3.17.2") and a Python ("3.12", or a path)."""

    mlflow: str
    python: str

    @property
    def folder(self) -> Path:
        """Where its environment is."""
        return CACHE / f"mlflow-{self.mlflow}-python-{self.python.strip('/').replace('/', '_')}"


def interpreter(python: str) -> str:
    """Return the path of a Python by its version, or by its path.

    Raises:
        Missing: No such Python is installed.
    """
    for candidate in _candidates(python):
        done = subprocess.run([candidate, "-c", "import venv"], capture_output=True, check=False)
        if done.returncode == 0:
            return candidate
    raise Missing(f"no Python {python} on the path or in ~/.pyenv")


def _candidates(python: str) -> Iterator[str]:
    """pyenv's own programs come last: one on the path, where it is a shim, may refuse to start."""
    if found := shutil.which(python) or shutil.which(f"python{python}"):
        yield found
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    yield from map(str, sorted(versions.glob(f"{python}*/bin/python"), reverse=True))


def install(pair: Pair) -> Path:
    """Make the environment of a pair, or bring it up to date; return its Python.

    MLflow comes with what pip picks for it on the day, as for a user: constraints.txt is of one release.

    Raises:
        Missing: There is no such Python, or pip refuses: that release of MLflow does not exist or is not admitted.
    """
    python = pair.folder / "bin" / "python"
    if not python.exists():
        _run([interpreter(pair.python), "-m", "venv", str(pair.folder)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, f"mlflow=={pair.mlflow}", "--editable", f"{ROOT}[postgresql,mysql]", *TOOLS])
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Missing(next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "pip failed"))
