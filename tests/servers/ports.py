"""Free ports for servers that a test starts a moment later, and starts again on the same port.

A port that the kernel chose for a probe may be chosen once more, for anybody's outgoing connection, before the server
listens on it. So these lie below those that are given out by themselves: from 32,768 on by Linux
(`net.ipv4.ip_local_port_range`), from 49,152 on by others (RFC 6335, section 6).
"""

from __future__ import annotations

import itertools
import os
import socket

_RANGE = range(10_000, 32_768)
_PORTS = itertools.islice(itertools.cycle(_RANGE), os.getpid() * 101 % len(_RANGE), None)
"""Each process of tests begins somewhere else, and none is told twice."""


def free_port() -> int:
    """A port that nobody listens on and no other caller of this process is told."""
    return next(filter(_is_free, _PORTS))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
