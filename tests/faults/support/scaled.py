"""`python -m tests.faults.support.scaled --config F`: the program with its bounds in memory made small.

What an hour or a day would fill is full after seconds, so that a test can see what happens then.
"""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType
from typing import Any

from spanbridge.collector.cli import main as cli
from spanbridge.collector.extensions.file_storage import build as file_storage
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.journal.sqlite import statements
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.collector.service import pipeline

MEMORY = 4 << 20
MAX_READY_BYTES = 1 << 20
REMEMBERED = 500


def main() -> int:
    replace(pipeline, "MEMORY", MEMORY)
    replace(pipeline, "ReleasedTraces", partial(ReleasedTraces, size=REMEMBERED))
    replace(file_storage, "SqliteJournal", partial(SqliteJournal, max_ready_bytes=MAX_READY_BYTES))
    replace(statements, "REMEMBERED", REMEMBERED)
    return cli.main()


def replace(module: ModuleType, name: str, value: Any) -> None:
    """Set what a module has; one that has no such name has moved, and nothing would be small."""
    assert hasattr(module, name), f"{module.__name__} has no {name}"
    setattr(module, name, value)


if __name__ == "__main__":
    sys.exit(main())
