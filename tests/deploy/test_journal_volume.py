"""The size that the chart wants for the journal's volume: a full journal fits in it, whatever its rows are."""

from __future__ import annotations

import asyncio
import re

import pytest

from spanbridge.collector.errors import Busy
from spanbridge.collector.journal import Entry
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.processors.types import Context
from tests.deploy.support.chart import CHART

BOUND = 32 << 20


def allowed():
    """Bytes of volume that the chart asks for at least, for a journal of `BOUND`."""
    rule = r"\$least := add \(mul (\d+) \$bytes\) (\d+)"
    factor, constant = re.search(rule, (CHART / "templates/_checks.tpl").read_text()).groups()
    return int(factor) * BOUND + int(constant)


async def filled(journal, size):
    """Put 50 rows more; False once there is no room."""
    try:
        await asyncio.gather(*(journal.put(Entry(bytes(size), Context())) for _ in range(50)))
    except Busy:
        return False
    return True


@pytest.mark.parametrize("size", [2060, 2730, 4090, 6000, 9000, 400_000])
async def test_a_full_journal_fits(tmp_path, size):
    """Rows a bit above a half, a third, … of a page leave the most of it empty."""
    async with SqliteJournal(tmp_path / "journal", capacity=BOUND) as journal:
        while await filled(journal, size):
            pass
        used = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert BOUND * 0.8 < used < allowed()
