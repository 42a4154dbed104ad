"""`MlflowSpanExporter` in worker processes, for tracking databases.

Making rows of spans takes as much of an interpreter as all that comes before it, from the socket to the whole trace. In
one process the two would share one, and senders would wait for their OK while rows are made. So each send is a task of
a process pool; the answer brings along what was logged meanwhile. Nothing is settled before the answer: when a worker
dies, all are ended, a new pool is made, and what was under way is sent again.

A worker imports the main module of the program, as `multiprocessing` has it: one that is a script does nothing at its
import (`if __name__ == "__main__":`).
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from logging.handlers import QueueHandler
from multiprocessing import forkserver
from queue import SimpleQueue
from typing import Any, TypeAlias

from spanbridge.collector.errors import ExportError, Retryable
from spanbridge.collector.exporters import SerializedTrace
from spanbridge.collector.exporters.mlflow.database.tracking_database import Database
from spanbridge.collector.exporters.mlflow.exporter import MlflowSpanExporter
from spanbridge.collector.exporters.mlflow.routing import Route, Router
from spanbridge.collector.exporters.mlflow.settings import MlflowSettings, settings_from
from spanbridge.processors.types import Trace

_log = logging.getLogger(__name__)

Answer: TypeAlias = tuple[ExportError | int, list[logging.LogRecord]]
"""What became of a send, and what was logged in its course."""

SQLITE_WORKERS = 2
"""SQLite takes one transaction at a time: while one worker writes, another makes its rows, and a third would wait."""
_START_METHOD = "forkserver" if sys.platform == "linux" else "spawn"
"""Forked workers share the memory of what was imported before; on a Mac some libraries do not outlive a fork."""
_PRELOAD = "spanbridge.collector.exporters.mlflow.database.writer_preload"
_ENVIRONMENT = {
    "PYTHONSAFEPATH": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker",
}
"""Of the fork server: it imports nothing from the working directory, numpy starts no thread for each processor. What a
program that was killed leaves of its locks, Python's tracker of them removes without a word."""


class ExporterProcess:
    """An Exporter whose sends are written by worker processes.

    Args:
        at_a_time: How many sends may be under way.
        environ: The environment that completes the options.
        options: As those of `MlflowSpanExporter`.

    Raises:
        ConfigError: As `MlflowSpanExporter` does. Workers are started by the first sends.
    """

    def __init__(self, at_a_time: int, environ: Mapping[str, str], **options: Any) -> None:
        settings = settings_from(environ, **options)
        self._router = Router(settings)
        self._workers = min(at_a_time, workers_for(settings.scheme, os.cpu_count() or 1))
        self._options = {"environ": dict(environ), **options}
        self._changing = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def group(self, trace: Trace) -> Route:
        """Return what traces of one request have in common; see `MlflowSpanExporter.group`."""
        return self._router(trace)

    def send(self, traces: Sequence[SerializedTrace]) -> int:
        """Write traces of one group; see `spanbridge.collector.exporters.Exporter`.

        Raises:
            ExportError: As `MlflowSpanExporter.send`; Retryable also if the worker has died.
        """
        pool = self._running()
        try:
            outcome, records = pool.submit(_send, list(traces)).result()
        # The pool is broken, was ended by another thread, or has no fork server to start a worker.
        except (BrokenProcessPool, RuntimeError, EOFError, OSError) as error:
            self._end(pool)
            raise Retryable("a process that writes to the tracking database has ended; it is started again") from error
        for record in records:
            logging.getLogger(record.name).handle(record)
        if isinstance(outcome, ExportError):
            raise outcome
        return outcome

    def close(self) -> None:
        """End the workers at once; a transaction that is under way is rolled back."""
        if self._pool is not None:
            self._end(self._pool)

    def _running(self) -> ProcessPoolExecutor:
        with self._changing:
            if self._pool is None:
                self._pool = _new_pool(self._workers, self._options)
            return self._pool

    def _end(self, pool: ProcessPoolExecutor) -> None:
        with self._changing:
            if pool is self._pool:
                self._pool = None
                _kill(pool)


def workers_for(scheme: str, processors: int) -> int:
    """Return how many workers a kind of database is worth: each takes about 60 MB beside what all of them share.

    While one waits for the database, the others make rows, which takes a processor each.
    """
    return SQLITE_WORKERS if scheme == "sqlite" else 1 + processors


def _new_pool(workers: int, options: Mapping[str, Any]) -> ProcessPoolExecutor:
    """Return a pool whose workers have an exporter each. Its lock is its own: the dead may have kept the last one's."""
    context = multiprocessing.get_context(_START_METHOD)
    if _START_METHOD == "forkserver":
        context.set_forkserver_preload([_PRELOAD])
        with _environment():
            forkserver.ensure_running()
    return ProcessPoolExecutor(workers, context, _start, (logging.getLogger().level, options, context.Lock()))


@contextmanager
def _environment() -> Iterator[None]:
    """Have `_ENVIRONMENT` in the environment of what is started meanwhile: `multiprocessing` takes no other."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _kill(pool: ProcessPoolExecutor) -> None:
    """End a pool and its workers. They ignore the SIGTERM that a broken pool sends to those that are left.

    Python 3.14 has `ProcessPoolExecutor.kill_workers` for it.
    """
    for process in list((pool._processes or {}).values()):  # noqa: SLF001  see above
        process.kill()
    pool.shutdown()


# What follows runs in a worker. A pool hands its tasks nothing but their arguments: what a worker keeps is global.

_exporter: MlflowSpanExporter
_records: SimpleQueue[logging.LogRecord] = SimpleQueue()


def _start(level: int, options: Mapping[str, Any], turn: AbstractContextManager[Any]) -> None:
    """Make this process a worker: with an exporter, and log records that wait for the next answer."""
    global _exporter  # noqa: PLW0603  see above
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    handler = QueueHandler(_records)
    handler.setFormatter(logging.Formatter())  # the message alone: the program formats the rest
    logging.basicConfig(level=level, handlers=[handler])

    def database(settings: MlflowSettings) -> Database:
        return Database(settings, turn=turn)

    _exporter = MlflowSpanExporter(open_destination=database, **options)


def _end_with_parent() -> None:
    """Wait for the end of the program, however it ends, and end too: a pool's idle workers would wait for ever."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


def _send(traces: Sequence[SerializedTrace]) -> Answer:
    outcome = _outcome(traces)
    return outcome, [_records.get() for _ in range(_records.qsize())]


def _outcome(traces: Sequence[SerializedTrace]) -> ExportError | int:
    try:
        return _exporter.send(traces)
    except ExportError as error:
        return error.with_traceback(None)
    except Exception as fault:  # noqa: BLE001  the other process is told
        _log.exception("the mlflow exporter failed in a way it should not")
        return Retryable(f"{type(fault).__name__} in the exporter")
