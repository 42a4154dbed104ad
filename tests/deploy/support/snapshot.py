"""What two releases render to, kept in snapshots/: `python -m tests.deploy.support.snapshot` writes them anew."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.deploy.support.chart import render
from tests.paths import ROOT

FOLDER = ROOT / "tests/deploy/snapshots"
RELEASES = {"gateway": {}, "injection": {"mode": "sidecar"}}


def path(name: str) -> Path:
    """Where a snapshot is."""
    return FOLDER / f"{name}.yaml"


def rendered(name: str) -> str:
    """What the release renders to now."""
    return yaml.safe_dump_all(render(RELEASES[name]), sort_keys=False, width=120)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in RELEASES:
        path(each).write_text(rendered(each))
