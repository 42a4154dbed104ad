"""What an operator does with dead letters: list, retry or drop them, while the bridge runs or not.

Plain functions on the journal's path, for another process than the bridge's, which notices a retry within a second
(`worker`). They write without the bridge's lock: SQLite's own keeps their transactions apart from its commits. But they
never checkpoint, which only one connection may (`database` says why).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from spanbridge.collector.errors import ConfigError
from spanbridge.collector.journal import Entry
from spanbridge.collector.journal.context import load
from spanbridge.collector.journal.sqlite.database import is_damage
from spanbridge.collector.journal.sqlite.schema import check_schema, connect, transaction
from spanbridge.collector.journal.sqlite.statements import Record, insert_rows, records
from spanbridge.processors.types import Batch, spans


@dataclass(frozen=True, slots=True)
class Listed:
    """A dead letter as an operator sees it.

    Attributes:
        id: What `retry` and `drop` take.
        time: When it was given up, in unix seconds.
        exporter: The component id of the exporter that gave up.
        reason: What the destination said.
        span_count: How many spans it holds; 0 if it can't be read.
        trace_ids: The traces these are of, in hex.
    """

    id: int
    time: float
    exporter: str
    reason: str
    span_count: int
    trace_ids: tuple[str, ...]


def entries(path: Path) -> list[Listed]:
    """List all dead letters, oldest first.

    Raises:
        ConfigError: There is no journal at the path, or it can't be used.
    """
    with _opened(path) as connection:
        return [
            Listed(id_, since, exporter, reason, *_contents(payload))
            for id_, _, since, exporter, reason, _, _, _, payload in records(connection, "aside")
        ]


def retry(path: Path, ids: Collection[int] | None = None) -> int:
    """Make dead letters rows that are due again, for every exporter of the pipeline.

    Args:
        path: The journal's file.
        ids: Which ones; None for all. Ids that are not there are ignored.

    Returns:
        How many were made rows; all or none of those chosen.

    Raises:
        ConfigError: There is no journal at the path, or it can't be used.
    """
    with _opened(path) as connection, transaction(connection):
        chosen = _chosen(connection, ids)
        for id_ in chosen:
            *_, context, payload = next(records(connection, "aside", id_ - 1))
            connection.execute(*insert_rows([Record(time.time(), Entry(payload, load(context)), context)]))
            _delete(connection, id_)
    return len(chosen)


def drop(path: Path, ids: Collection[int] | None = None) -> int:
    """Delete dead letters for good.

    Args:
        path: The journal's file.
        ids: Which ones; None for all. Ids that are not there are ignored.

    Returns:
        How many were deleted.

    Raises:
        ConfigError: There is no journal at the path, or it can't be used.
    """
    with _opened(path) as connection, transaction(connection):
        chosen = _chosen(connection, ids)
        for id_ in chosen:
            _delete(connection, id_)
    return len(chosen)


def _chosen(connection: sqlite3.Connection, ids: Collection[int] | None) -> list[int]:
    known = [id_ for (id_,) in connection.execute("SELECT id FROM aside ORDER BY id")]
    return [id_ for id_ in known if ids is None or id_ in ids]


def _delete(connection: sqlite3.Connection, id_: int) -> None:
    connection.execute("DELETE FROM aside WHERE id = ?", (id_,))


def _contents(payload: bytes) -> tuple[int, tuple[str, ...]]:
    try:
        found = list(spans(Batch.FromString(payload)))
    except DecodeError:
        return 0, ()
    return len(found), tuple(dict.fromkeys(span.trace_id.hex() for span in found))


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the journal beside a bridge that may be running.

    Raises:
        ConfigError: There is no journal, it is another version's or damaged, or the bridge keeps it too busy.
    """
    if not path.exists():
        raise ConfigError([f"{path}: there is no journal here; give the one that the bridge's configuration names"])
    try:
        with closing(connect(path)) as connection:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            if not check_schema(connection, path):
                raise ConfigError([f"{path}: this journal was never used"])
            yield connection
    except sqlite3.Error as error:
        mend = "start the bridge, which saves what can be read" if is_damage(error) else "try again"
        raise ConfigError([f"{path}: the journal can't be used ({error}); {mend}"]) from error
