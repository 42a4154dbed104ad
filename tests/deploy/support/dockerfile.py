"""Carries out what a Dockerfile says, without an engine: its COPY and RUN in a folder that stands for the root.

Good for Dockerfiles that are kept plain: every absolute path outside of the base image is one of `PLACES`, stages copy
from each other at the same path, and a base image is this machine with the Python that runs the tests.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

PLACES = ("/src", "/wheels", "/opt/spanbridge", "/var/lib/spanbridge")


@dataclass
class Stage:
    """One FROM: what it starts from and the instructions that follow, as (name, arguments)."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)


def parse(text: str) -> dict[str, Stage]:
    """The stages by name, in their order."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    stages: dict[str, Stage] = {}
    stage = Stage("")
    for instruction in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        name, _, arguments = instruction.strip().partition(" ")
        if name == "FROM":
            base, _, own = arguments.partition(" AS ")
            stage = stages[own] = Stage(base)
        else:
            stage.instructions.append((name, arguments.strip()))
    return stages


class Build:
    """Builds stages under `root` from the files of `context`."""

    def __init__(self, stages: dict[str, Stage], context: Path, root: Path) -> None:
        self._stages, self._context, self._root = stages, context, root
        self._built: set[str] = set()
        self._folder = root
        self.environment: dict[str, str] = {}

    def build(self, name: str) -> None:
        """Build a stage and what it needs."""
        stage = self._stages[name]
        if name in self._built:
            return
        self._built.add(name)
        if stage.base in self._stages:
            self.build(stage.base)
        for instruction, arguments in stage.instructions:
            getattr(self, f"_{instruction.lower()}", self._passed_over)(arguments)

    def place(self, path: str) -> Path:
        """Where an absolute path of the image is."""
        return self._root / path.lstrip("/")

    def _passed_over(self, arguments: str) -> None:
        """USER, EXPOSE, VOLUME, ENTRYPOINT, CMD: a matter of running, not of building."""

    def _workdir(self, path: str) -> None:
        self._folder = self.place(path)
        self._folder.mkdir(parents=True, exist_ok=True)

    def _copy(self, arguments: str) -> None:
        *sources, target = shlex.split(arguments)
        if sources[0].startswith("--from="):
            folder = self._folder
            self.build(sources[0].removeprefix("--from="))
            self._folder = folder
            assert sources[1:] == [target], "stages copy at the same path"
            return
        for source in sources:
            into = self._folder / target
            if (self._context / source).is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(self._context / source, into, dirs_exist_ok=True, ignore=ignore)
            else:
                into = into / Path(source).name if target.endswith("/") else into
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self._context / source, into)

    def _env(self, arguments: str) -> None:
        for pair in shlex.split(arguments):
            name, _, value = pair.partition("=")
            self.environment[name] = self._placed(value)

    def _run(self, command: str) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._placed(command)],
            cwd=self._folder,
            env={**clean_environment(), "PATH": f"{Path(sys.base_prefix) / 'bin'}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"

    def _placed(self, text: str) -> str:
        """The text with the paths of the image as they are here."""
        return re.sub(
            rf"(?<![\w./])({'|'.join(map(re.escape, PLACES))})\b", lambda match: str(self.place(match[1])), text
        )


def clean_environment() -> dict[str, str]:
    """This process's environment without what points into the virtual environment that runs the tests."""
    return {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
