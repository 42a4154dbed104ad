"""The version of the program, as `spanbridge --version` and the metric `target_info` tell it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def version_string() -> str:
    """Return the installed version; "(not installed)" when it runs from a folder that no installation knows."""
    try:
        return version("spanbridge")
    except PackageNotFoundError:
        return "(not installed)"
