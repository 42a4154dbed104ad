"""From the `file_storage` section to what opens a journal: a SQLite file for each pipeline."""

from __future__ import annotations

from pathlib import Path

from spanbridge.collector.errors import ConfigError
from spanbridge.collector.extensions import ExtensionContext, JournalOptions, OpenJournal
from spanbridge.collector.extensions.file_storage.config import FileStorageConfig
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.collector.journal.sqlite.paths import journal_path


def build(config: FileStorageConfig, _context: ExtensionContext) -> OpenJournal:
    """Return what opens a pipeline's journal in the directory of a section."""

    def open_journal(options: JournalOptions) -> SqliteJournal:
        _prepare(config)
        return SqliteJournal(
            journal_path(config.directory, options.pipeline),
            capacity=options.capacity,
            dead_letter_limits=options.dead_letter_limits,
            fsync=config.fsync,
            on_corrupt=options.on_corrupt,
            on_dropped=options.on_dropped,
        )

    return open_journal


def _prepare(config: FileStorageConfig) -> None:
    """See to it that the directory is there.

    Raises:
        ConfigError: it is not, or can't be made.
    """
    directory = Path(config.directory)
    try:
        if config.create_directory:
            directory.mkdir(mode=config.mode, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([f"extensions::file_storage::directory: can't make {directory}: {error.strerror}"]) from None
    if not directory.is_dir():
        raise ConfigError(
            [f"extensions::file_storage::directory: {directory} must exist; make it, or set create_directory: true"]
        )
