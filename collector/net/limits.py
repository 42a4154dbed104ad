"""What one server lets its clients take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of one HTTP server's connections. Times are in seconds, 0 is no limit; `max_bytes` is of a body."""

    max_connections: int = 512
    max_bytes: int = 64 << 20
    read_header_timeout: float = 10.0
    read_timeout: float = 60.0
    write_timeout: float = 30.0
    idle_timeout: float = 60.0
