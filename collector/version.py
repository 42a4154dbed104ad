"""The version of the program, as `spanbridge --version` and the metric `target_info` tell it."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

DISTRIBUTIONS = ("spanbridge", "spanbridge-sidecar")
"""Both hold the same program; a sidecar's comes without MLflow."""


def version_string() -> str:
    """Return the installed version; "(not installed)" when it runs from a folder that no installation knows."""
    for distribution in DISTRIBUTIONS:
        with suppress(PackageNotFoundError):
            return version(distribution)
    return "(not installed)"
