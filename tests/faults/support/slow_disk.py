"""`python -m tests.faults.support.slow_disk --config F`: the program on a disk that takes DELAY seconds a commit."""

from __future__ import annotations

import sys
import time

from spanbridge.collector.cli import main as cli
from spanbridge.collector.journal.sqlite.database import Database

DELAY = 0.5


def main() -> int:
    commit = Database.apply

    def slowly(database, *arguments):
        time.sleep(DELAY)
        return commit(database, *arguments)

    Database.apply = slowly  # type: ignore[method-assign]
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
