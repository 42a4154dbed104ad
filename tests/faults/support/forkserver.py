"""Starts the program fast, many times: a process that has imported everything and forks a bridge when told to.

Most of the program's start is importing mlflow, which is the same each time; what a crash test is about comes after.
Orders come as lines of JSON on stdin, each is answered by one number on stdout.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.paths import ROOT
from tests.polling import until_sync
from tests.servers.program import Program


class ForkServer:
    """The process; a context manager that ends it and what it forked."""

    def __enter__(self):
        command = [sys.executable, "-m", "tests.faults.support.forkserver"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.order("imported")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)  # end of orders: it ends what it forked, and itself

    def order(self, verb: str, *arguments: str | int) -> int:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([verb, *arguments]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Child:
    """A forked bridge, asked as `subprocess.Popen` is."""

    def __init__(self, server: ForkServer, config: Path, log: Path) -> None:
        self._server = server
        self._status: int | None = None
        self.pid = server.order("fork", str(config), str(log))

    def poll(self) -> int | None:
        if self._status is None:
            status = self._server.order("poll", self.pid)
            self._status = None if status < 0 else status
        return self._status

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, seconds: float = 60) -> int:
        until_sync(lambda: self.poll() is not None, seconds, what="the end of the program")
        assert self._status is not None
        return self._status


class ForkedProgram(Program):
    """The program, forked from one that has its imports behind it."""

    def __init__(self, server: ForkServer, config: dict, folder: Path, ports) -> None:
        super().__init__(config, folder, ports)
        self._server = server

    def spawn(self) -> None:
        """Begin to start it, and do not wait."""
        self.process = Child(self._server, self.config, self.log)  # type: ignore[assignment]

    def start(self, seconds: float = 60) -> None:
        self.spawn()
        until_sync(self.ready, seconds, what=f"readiness; log:\n{self.tail()}")


def _become_a_bridge(config: str, log: str) -> None:
    null, out = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for source, target in ((null, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    from spanbridge.collector.cli.main import main  # noqa: PLC0415  in the child alone, as in a process of its own

    try:
        sys.exit(main(["--config", config]))
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)


def _serve() -> None:
    import mlflow.store.tracking.sqlalchemy_store  # noqa: PLC0415, F401

    # imported here so that no child has to
    import spanbridge.collector.receivers.otlp.grpc_server  # noqa: PLC0415
    import spanbridge.collector.receivers.otlp.http_server  # noqa: PLC0415
    import spanbridge.collector.service.run  # noqa: PLC0415, F401
    from spanbridge.collector.config.components import COMPONENTS  # noqa: PLC0415

    assert all(row.config and row.build for row in COMPONENTS)

    assert threading.active_count() == 1, "a fork would lose these threads"
    children: set[int] = set()
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        answer = os.getpid()
        if verb == "fork":
            answer = os.fork()
            if answer == 0:
                _become_a_bridge(*arguments)
            children.add(answer)
        elif verb == "poll":
            ended, status = os.waitpid(arguments[0], os.WNOHANG)
            answer = abs(os.waitstatus_to_exitcode(status)) if ended else -1
            if ended:
                children.discard(ended)
        print(answer, flush=True)
    for child in children:
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    _serve()
