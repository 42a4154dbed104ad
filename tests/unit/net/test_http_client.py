"""A call over HTTP ends by its timeout, whatever the other side does with its bytes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time

import pytest
import urllib3

from spanbridge.collector.net.http_client import pool_manager
from tests.fakes import Answer, http_server
from tests.servers.certificates import Authority

TIMEOUT = 0.3
BODY = bytes(32 << 20)
"""More than the buffers of two sockets."""


@pytest.fixture(params=["http", "https"])
def wire(request, tmp_path):
    """How a server wraps its connections, if at all, and what a client needs for it."""
    if request.param == "http":
        return None, {}
    authority = Authority(tmp_path)
    server = authority.issue("server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server.cert, server.key)
    return context, {"ca_certs": str(authority.file)}


@contextlib.contextmanager
def serving(tls, behave):
    """A server that has `behave(connection, over)` do what it wants with each connection."""
    over = threading.Event()

    def serve(listener):
        with contextlib.suppress(OSError):
            while True:
                connection = listener.accept()[0]
                with contextlib.suppress(OSError):
                    behave(tls.wrap_socket(connection, server_side=True) if tls else connection, over)
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def sip(connection, over):
    """Take a few bytes now and then."""
    while not over.wait(TIMEOUT / 10):
        connection.recv(20_000)
    connection.close()


def drip(connection, over):
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
    while not over.wait(TIMEOUT / 10):
        connection.sendall(b"x")
    connection.close()


@pytest.mark.parametrize(("behave", "body"), [(sip, BODY), (drip, b"")], ids=["takes slowly", "gives slowly"])
def test_a_call_ends(behave, body, wire):
    tls, options = wire
    with serving(tls, behave) as address, pool_manager(TIMEOUT, retries=False, **options) as pool:
        started = time.monotonic()
        with pytest.raises(urllib3.exceptions.HTTPError):
            pool.request("POST", address, body=body)
        assert TIMEOUT * 0.9 < time.monotonic() - started < TIMEOUT * 5


def test_a_kept_connection_begins_anew_with_each_call(wire):
    tls, options = wire
    with http_server(lambda seen: Answer(body=seen.body), tls) as address, pool_manager(2.0, **options) as pool:
        for size in (10, 100_000, 0):
            assert pool.request("POST", address, body=bytes(size)).data == bytes(size)
        assert pool.connection_from_url(address).num_connections == 1
        connection = pool.connection_from_url(address).pool.queue[-1]
        connection.sock.settimeout(0.0001)  # as it may be left by a call that was just in time
        assert pool.request("POST", address, body=bytes(100_000)).data == bytes(100_000)
        assert pool.connection_from_url(address).num_connections == 1
