"""The journal's worker on its own: what it reports belongs to the commit that it reports."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from spanbridge.collector.journal import AsideLimits, Entry, Settlement
from spanbridge.collector.journal.sqlite.messages import Close, Committed, Event, Put, Settle
from spanbridge.collector.journal.sqlite.statements import Record
from spanbridge.collector.journal.sqlite.worker import Worker
from spanbridge.processors.types import Context
from tests.polling import until


async def test_a_commit_reported_tells_nothing_of_what_came_after_it(tmp_path: Path) -> None:
    """The event loop may be busy when the report comes: a settlement that it finds there must be in the file."""
    events: list[Event] = []

    def commits() -> list[Committed]:
        return [event for event in events if isinstance(event, Committed)]

    worker = Worker(tmp_path / "traces.journal", events.append, fsync=False, aside=AsideLimits())
    thread = threading.Thread(target=worker.run, args=(lambda: None,))
    thread.start()
    loop = asyncio.get_running_loop()
    try:
        worker.commands.put(Put(Record(0.0, Entry(b"payload", Context()), b""), loop.create_future()))
        await until(lambda: len(commits()) == 1)
        settle = Settle(Settlement(rows=[1]), loop.create_future())
        worker.commands.put(settle)
        await until(lambda: len(commits()) == 2)
    finally:
        worker.commands.put(Close())
        thread.join()
    assert [list(event.settles) for event in commits()] == [[], [settle]]
