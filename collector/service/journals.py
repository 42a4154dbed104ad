"""The journal of a pipeline: in the storage that its exporters name, or in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from spanbridge.collector.config.pipelines import PipelineConfig
from spanbridge.collector.extensions import JournalOptions, OpenJournal
from spanbridge.collector.journal import DeadLetterLimits, Journal
from spanbridge.collector.journal.memory import MemoryJournal
from spanbridge.collector.service.service import Service
from spanbridge.collector.telemetry.metrics import Telemetry

log = logging.getLogger(__name__)

DEAD_LETTER_SHARE = 4
"""Of a journal this part may hold what MLflow refused: it must not fill up with that, and shut everybody out."""


async def start_journal(service: Service, pipeline: PipelineConfig) -> Journal:
    """Open the journal of a traces pipeline, until the service stops.

    Raises:
        ConfigError: the storage can't be used, or another process has the journal open.
    """
    open_journal: OpenJournal = service.extension(pipeline.journal.storage) if pipeline.journal.storage else _in_memory
    journal = await service.stack.enter_async_context(open_journal(_options(pipeline, service.telemetry)))
    service.journals[pipeline.id] = journal
    return journal


def _in_memory(options: JournalOptions) -> AbstractAsyncContextManager[Journal]:
    return MemoryJournal(options.capacity, dead_letter_limits=options.dead_letter_limits, on_dropped=options.on_dropped)


def _options(pipeline: PipelineConfig, telemetry: Telemetry) -> JournalOptions:
    return JournalOptions(
        pipeline.id,
        capacity=pipeline.journal.capacity,
        dead_letter_limits=DeadLetterLimits(bytes=pipeline.journal.capacity // DEAD_LETTER_SHARE),
        on_corrupt=_on_corrupt(pipeline.id, telemetry),
        on_dropped=_on_dropped(pipeline.id, telemetry),
    )


def _on_corrupt(pipeline: str, telemetry: Telemetry) -> Callable[[Path], None]:
    corrupt = telemetry.journal_corrupt.labels(pipeline)

    def tell(place: Path) -> None:
        corrupt.inc()
        log.error("the journal of %s was damaged; what can't be read of it is kept in %s", pipeline, place)

    return tell


def _on_dropped(pipeline: str, telemetry: Telemetry) -> Callable[[int], None]:
    dropped = telemetry.aside_dropped.labels(pipeline)

    def tell(rows: int) -> None:
        dropped.inc(rows)
        log.error("%s: %d batches that were set aside are lost: too many came after them", pipeline, rows)

    return tell
