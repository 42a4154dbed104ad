"""HTTP calls with an end: the answer is there, whole, within the timeout, or the call fails.

urllib3 and the standard library bound each single read and write. A server, or a proxy in front of it, that takes or
gives a byte now and then would keep a call, and the thread that waits for it, for ever.
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
_PIECE = 16 << 10
"""Bytes written at a time, one record of TLS."""


class _Reader(io.RawIOBase):
    """What comes from a socket, until the end (on `time.monotonic`)."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self._connection = connection
        self._end = end
        self._raw = connection.makefile("rb", buffering=0)

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int | None:
        self._connection.settimeout(_left(self._end))
        return self._raw.readinto(buffer)

    @override
    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, end: float, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock, end))


class _Http(HTTPConnection):
    """A connection whose calls take `seconds` at most, from the request to the end of the answer."""

    seconds: float
    _end: float

    @override
    def request(self, *args: Any, **options: Any) -> None:
        self._end = time.monotonic() + self.seconds
        self.response_class = partial(_Answer, end=self._end)  # type: ignore[assignment]  # it makes them
        super().request(*args, **options)

    @override
    def send(self, data: bytes) -> None:  # type: ignore[override]  # nothing else is sent here
        if self.sock is None:
            self.connect()
        for start in range(0, len(data), _PIECE):
            self.sock.settimeout(_left(self._end))
            self.sock.sendall(data[start : start + _PIECE])


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


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def pool_manager(seconds: float, **options: Any) -> urllib3.PoolManager:
    """urllib3's, whose calls take no longer than `seconds` from the request to the end of the answer.

    Not counted are looking up the name and connecting, which has a timeout of its own.
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
