"""A tracking server that fails as it is told to, for what a real one can't be made to do on demand."""

from __future__ import annotations

import contextlib
import json
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EXPERIMENT = {"experiment_id": "1", "name": "Default", "lifecycle_stage": "active"}


class MoodyMlflow(ThreadingHTTPServer):
    """Answers `status` to every OTLP request, and 422 to one that holds a span named "poison"."""

    status = 200
    requests = 0

    @property
    def uri(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: MoodyMlflow
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, {"experiment": EXPERIMENT})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if not self.path.endswith("/v1/traces"):
            self._answer(200, {"experiment_id": "1"})
            return
        self.server.requests += 1
        poisoned = b"poison" in zlib.decompress(body, zlib.MAX_WBITS | 32)
        self._answer(422 if poisoned and self.server.status == 200 else self.server.status, {"detail": "moody"})

    do_PATCH = do_POST  # noqa: N815  the name that http.server looks for

    def _answer(self, status: int, message: dict) -> None:
        body = json.dumps(message).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def moody_mlflow() -> Iterator[MoodyMlflow]:
    """A running one."""
    with MoodyMlflow(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
