"""The place of a pipeline's journal."""

from __future__ import annotations

from pathlib import Path


def journal_path(directory: str, pipeline_id: str) -> Path:
    """Return the file of a pipeline's journal in the directory of its file_storage extension."""
    return Path(directory) / f"{pipeline_id.replace('/', '_')}.journal"
