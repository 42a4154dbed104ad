"""HTTP calls with a deadline: the whole answer is there within the timeout, or the call fails.

urllib3 and the standard library bound each single read and write. A server, or a proxy in front of it, that takes or
gives a byte now and then would keep a call, and the thread that waits for it, for ever. So the socket's timeout is set
before each read and write to what is left of the call's time.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from functools import partial
from typing import Any

import urllib3
from typing_extensions import override
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs

_CONNECT = 10.0
"""Seconds for a connection to be made."""
_CHUNK = 16 << 10
"""Bytes written at a time, one record of TLS. `SSLSocket.sendall` renews the timeout for each record that is taken, so
that a larger write could go on past the deadline."""


class _Reader(io.RawIOBase):
    """The bytes of a socket until a deadline (on `time.monotonic`), after which reading raises TimeoutError."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._raw = connection.makefile("rb", buffering=0)

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int | None:
        self._connection.settimeout(_left(self._deadline))
        return self._raw.readinto(buffer)

    @override
    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response that is read until a deadline: http.client's own file of the socket is replaced by ours."""

    def __init__(self, sock: socket.socket, *args: Any, deadline: float, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock, deadline))


class _Http(HTTPConnection):
    """A connection whose calls take `seconds` at most, from the request to the end of the response."""

    seconds: float
    _deadline: float

    @override
    def request(self, *args: Any, **options: Any) -> None:
        self._deadline = time.monotonic() + self.seconds
        self.response_class = partial(_Response, deadline=self._deadline)  # type: ignore[assignment]  # it makes responses, as a class does
        super().request(*args, **options)

    @override
    def send(self, data: bytes) -> None:  # type: ignore[override]  # nothing else is sent here
        if self.sock is None:
            self.connect()
        for start in range(0, len(data), _CHUNK):
            self.sock.settimeout(_left(self._deadline))
            self.sock.sendall(data[start : start + _CHUNK])


class _Https(_Http, HTTPSConnection):
    """The same with TLS, under the rules that certificates are held to on every Python and by the Collector.

    From Python 3.13 on urllib3's own context also asks for what RFC 5280 wants of certificates (VERIFY_X509_STRICT),
    an authority key identifier first of all. Many private authorities leave it out: who upgrades Python, and nothing
    else, would be cut off from an MLflow that was trusted the day before.
    """

    @override
    def connect(self) -> None:
        if self.ssl_context is None:
            self.ssl_context = create_urllib3_context(cert_reqs=resolve_cert_reqs(self.cert_reqs))
            self.ssl_context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            if not self.ca_certs:
                self.ssl_context.load_default_certs()
        super().connect()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def pool_manager(seconds: float, **options: Any) -> urllib3.PoolManager:
    """Return urllib3's PoolManager with calls that end in time, or fail with urllib3's own error of a timeout.

    Args:
        seconds: From the request to the end of the response. Not counted are looking up the name, and connecting, which
            has a timeout of its own (10 s, or less if `seconds` is).
        **options: As of `urllib3.PoolManager`.
    """
    pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=min(_CONNECT, seconds), read=seconds), **options)
    pool.pool_classes_by_scheme = {
        "http": _pool_class(HTTPConnectionPool, _Http, seconds),
        "https": _pool_class(HTTPSConnectionPool, _Https, seconds),
    }
    return pool


def _pool_class(pool: type[HTTPConnectionPool], connection: type[_Http], seconds: float) -> type[HTTPConnectionPool]:
    limited = type(connection.__name__, (connection,), {"seconds": seconds})
    return type(pool.__name__, (pool,), {"ConnectionCls": limited})
