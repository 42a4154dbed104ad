"""Listening sockets of receivers and pages, and what to say when they can't be opened."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

from spanbridge.collector.errors import ConfigError

BACKLOG = 512
"""Connections that wait to be accepted; the kernel lowers it to net.core.somaxconn."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Open listening TCP sockets on every address of a host, as one name may stand for an IPv4 and an IPv6 one.

    An address that this machine does not have (IPv6 switched off, yet in /etc/hosts) is left out.

    Args:
        host: A name or an address; "" for all interfaces.
        port: The port; 0 for a free one, the same for all addresses.

    Returns:
        At least one socket, non-blocking.

    Raises:
        OSError: No address is left, or one is taken; then no socket stays open.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, _, _, _, address in socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        try:
            sockets.append(_bound(family, (address[0], port, *address[2:])))
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                _close(sockets)
                raise
            missing = error
        else:
            port = sockets[0].getsockname()[1]
    if missing and not sockets:
        raise missing
    return sockets


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setblocking(False)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _close(sockets: list[socket.socket]) -> None:
    for listener in sockets:
        listener.close()


@contextlib.contextmanager
def starting(section: str, endpoint: str) -> Iterator[None]:
    """Turn what goes wrong while a server starts into an error of its section.

    Args:
        section: The path of its configuration, with which each problem begins.
        endpoint: Where it listens, as the configuration says it.

    Raises:
        ConfigError: It can't be started.
    """
    try:
        yield
    except ConfigError as error:
        raise ConfigError([f"{section}::{problem}" for problem in error.problems]) from error
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "the address is in use or not this machine's"
        raise ConfigError([f"{section}::endpoint: can't listen on {endpoint}: {reason}"]) from error
