"""`MlflowSpanExporter` in processes of its own, for tracking databases.

To make rows of spans takes as much of an interpreter as all that comes before it, from the socket to the whole trace.
In one process the two would share one, and senders would wait for their OK while rows are made. So the traces of a send
go to a second process, and the answer comes back, over one of several socket pairs: a line for each send that may be
under way. That process divides into writers of two lines each: one's rows are made while the other's are written.
Nothing is settled before the answer: when a writer dies, all are started again, and their sends are repeated.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from spanbridge.collector.errors import ExportError, Retryable
from spanbridge.collector.exporters import SerializedTrace
from spanbridge.collector.exporters.mlflow.database.tracking_database import import_store
from spanbridge.collector.exporters.mlflow.exporter import MlflowSpanExporter
from spanbridge.collector.exporters.mlflow.routing import Route, Router
from spanbridge.collector.exporters.mlflow.settings import settings_from
from spanbridge.collector.telemetry import allocator
from spanbridge.processors.types import Trace

_log = logging.getLogger(__name__)
_PROGRAM = Path("/proc/self/exe")
"""The interpreter that runs here: its path may be closed to the user to whom the program was handed over."""
_OPTIONS = ("-P", "-W", "ignore::DeprecationWarning:__main__")
"""From Python 3.12 on a fork warns where a library has threads of its own; those of mlflow's do nothing for us."""
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}
"""mlflow imports numpy, which else starts a thread for each processor."""


class ExporterProcess:
    """An Exporter; `at_a_time` is how many sends may be under way, the rest are arguments of `MlflowSpanExporter`."""

    def __init__(self, at_a_time: int, environ: Mapping[str, str], **options: Any) -> None:
        """Raises ConfigError as `MlflowSpanExporter` does; the process is started by the first send."""
        self._router = Router(settings_from(environ, **options))
        self._at_a_time = at_a_time
        self._start_message = pickle.dumps((dict(environ), options))
        self._starting = threading.Lock()
        self._child: Child | None = None

    def group(self, trace: Trace) -> Route:
        """See `MlflowSpanExporter.group`."""
        return self._router(trace)

    def send(self, traces: Sequence[SerializedTrace]) -> int:
        """See `spanbridge.collector.exporters.Exporter`."""
        try:
            outcome, records = self._running().ask(pickle.dumps(list(traces)))
        except (EOFError, OSError) as error:
            raise Retryable(
                "the process that writes to the tracking database has ended; it is started again"
            ) from error
        for record in records:
            logging.getLogger(record.name).handle(record)
        if isinstance(outcome, ExportError):
            raise outcome
        return int(outcome)

    def close(self) -> None:
        """End the process; a transaction that is under way is rolled back."""
        with self._starting:
            if self._child is not None:
                self._child.end()

    def _running(self) -> Child:
        with self._starting:
            if self._child is None or self._child.process.poll() is not None:
                self._child = Child(self._at_a_time, self._start_message)
            return self._child


class Child:
    """The writers that have been started, and the lines to them that are free."""

    def __init__(self, lines: int, start_message: bytes) -> None:
        pairs = [socket.socketpair() for _ in range(lines)]
        theirs = [of_child.fileno() for _, of_child in pairs]
        # A session of its own: what a terminal sends to all of a group ends this program in order, and it the child.
        self.process = subprocess.Popen(  # noqa: S603  this program itself
            [sys.executable, *_OPTIONS, "-m", __name__, str(logging.getLogger().level), *map(str, theirs)],
            executable=_PROGRAM if _PROGRAM.exists() else None,
            pass_fds=theirs,
            env={**os.environ, **_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._free: SimpleQueue[Connection] = SimpleQueue()
        for ours, of_child in pairs:
            of_child.close()
            line = Connection(ours.detach())
            line.send_bytes(start_message)
            self._free.put(line)

    def ask(self, message: bytes) -> tuple[ExportError | int, list[logging.LogRecord]]:
        """A writer's answer; it comes when it has done what it could. Raises EOFError or OSError."""
        line = self._free.get()
        try:
            line.send_bytes(message)
            answer = line.recv_bytes()
        except (EOFError, OSError):
            self.end()
            raise
        finally:
            self._free.put(line)
        outcome: tuple[ExportError | int, list[logging.LogRecord]] = pickle.loads(answer)  # noqa: S301  from our own process
        return outcome

    def end(self) -> None:
        """End all writers at once. Those that the first has left behind end as they see that nobody asks any more."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Collected(QueueHandler):
    """Keeps log records until an answer takes them along: the other process writes them as it writes its own."""

    queue: SimpleQueue[logging.LogRecord]

    def taken(self) -> list[logging.LogRecord]:
        """The records since the last time."""
        return [self.queue.get() for _ in range(self.queue.qsize())]

    def enqueue(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.queue.put(record)


def serve(line: Connection, exporter: MlflowSpanExporter, collected: Collected) -> None:
    """Answer one send after the other, until nobody is there to ask."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            traces = pickle.loads(line.recv_bytes())  # noqa: S301  from our own process
            line.send_bytes(pickle.dumps((_outcome(exporter, traces), collected.taken())))


def _outcome(exporter: MlflowSpanExporter, traces: Sequence[SerializedTrace]) -> ExportError | int:
    try:
        return exporter.send(traces)
    except ExportError as error:
        return error.with_traceback(None)
    except Exception as fault:  # noqa: BLE001  the other process is told
        _log.exception("the mlflow exporter failed in a way it should not")
        return Retryable(f"{type(fault).__name__} in the exporter")


def share(lines: Sequence[Connection]) -> Sequence[Connection]:
    """Divide this process into writers; the lines of the one that this is.

    There is a writer for two lines, and none that would find no processor. They share the memory of what is imported.
    On a Mac, where libraries do not outlive a fork, there is one.
    """
    if sys.platform != "linux":
        return lines
    writers = min((len(lines) + 1) // 2, len(os.sched_getaffinity(0)))
    mine = 0
    for other in range(1, writers):
        if os.fork() == 0:
            mine = other
            break
    for place, line in enumerate(lines):
        if place % writers != mine:
            line.close()
    return lines[mine::writers]


def main(level: int, descriptors: Sequence[int]) -> None:
    """Serve the lines with these descriptors; ends with the other process, or when that kills it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    allocator.keep_little()
    collected = Collected(SimpleQueue())
    logging.basicConfig(level=level, handlers=[collected])
    lines = [Connection(descriptor) for descriptor in descriptors]
    try:
        *_, (environ, options) = (pickle.loads(line.recv_bytes()) for line in lines)  # noqa: S301  from our own process
    except (EOFError, OSError):  # killed as it started us: there is nothing to do, and nobody to tell
        return
    exporter = MlflowSpanExporter(environ=environ, **options)
    with contextlib.suppress(ImportError):  # each send will tell
        import_store()
    allocator.give_back()
    threads = [threading.Thread(target=serve, args=(line, exporter, collected)) for line in share(lines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), list(map(int, sys.argv[2:])))
