"""`python -m tests.faults.support.scaled --config F`: the program with its bounds in memory made small.

What an hour or a day would fill is full after seconds, so that a test can see what happens then.
"""

from __future__ import annotations

import sys
from functools import partial

from spanbridge.collector.cli import main as cli
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.journal.sqlite import statements
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.collector.service import run as service

MEMORY = 4 << 20
MAX_READY_BYTES = 1 << 20
REMEMBERED = 500


def main() -> int:
    service.MEMORY = MEMORY
    service.SqliteJournal = partial(SqliteJournal, max_ready_bytes=MAX_READY_BYTES)  # type: ignore[assignment,misc]
    service.ReleasedTraces = partial(ReleasedTraces, size=REMEMBERED)  # type: ignore[assignment,misc]
    statements.REMEMBERED = REMEMBERED
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
