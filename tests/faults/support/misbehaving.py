"""An HTTP server that misbehaves on script, down to the socket: what `http.server` is too polite for."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from spanbridge.processors.types import Batch
from tests.faults.support.downstreams import REST, Downstream


class Request(NamedTuple):
    """As it was read; the body is decompressed."""

    path: str
    headers: dict[str, str]
    body: bytes


Misdeed = Callable[["Misbehaving", "Wire", Request], None]


class Wire:
    """One connection, as the script sees it."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.file = connection.makefile("rb")

    def read(self) -> Request | None:
        line = self.file.readline()
        if not line:
            return None
        headers: dict[str, str] = {}
        while (field := self.file.readline().strip()) != b"":
            name, _, value = field.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = self.file.read(int(headers.get("content-length", 0)))
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        return Request(line.split()[1].decode(), headers, body)

    def answer(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        fields = {"content-type": "application/json", "content-length": str(len(body))} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        lines = [f"HTTP/1.1 {status} whatever", *(f"{name}: {value}" for name, value in fields.items())]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def reset(self) -> None:
        """Close with RST, as a crashed or overloaded peer does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.hang_up()

    def hang_up(self) -> None:
        self.file.close()
        self.socket.close()


class Misbehaving:
    """Takes spans as MLflow or a collector does, but does the first `times` requests to `where` the wrong way."""

    def __init__(self, misdeed: Misdeed, times: int, where: str = "/v1/traces") -> None:
        self.downstream = Downstream()
        self.over = threading.Event()
        self.misdeeds = 0
        self.refusing = False
        self._misdeed, self._times, self._where = misdeed, times, where
        self._lock = threading.Lock()

    def take(self, request: Request) -> None:
        if request.path.endswith("/v1/traces"):
            self.downstream.deed([Batch.FromString(request.body)])

    def serve(self, wire: Wire) -> None:
        while (request := wire.read()) is not None:
            if self._is_due(request):
                self._misdeed(self, wire, request)
            else:
                self.take(request)
                wire.answer(200, json.dumps({} if request.path.endswith("/v1/traces") else REST).encode())

    def _is_due(self, request: Request) -> bool:
        with self._lock:
            due = self._where in request.path and self.misdeeds < self._times
            self.misdeeds += due
        return due

    @contextlib.contextmanager
    def running(self, port: int = 0) -> Iterator[str]:
        """Yields the address."""

        class Handler(socketserver.BaseRequestHandler):
            def handle(handler) -> None:  # noqa: N805  the server around it is `self`
                with contextlib.suppress(OSError, ValueError):
                    self.serve(Wire(handler.request))

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                """A connection that breaks is the point."""

        with Server(("127.0.0.1", port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}"
            finally:
                self.over.set()
                server.shutdown()
                thread.join()
