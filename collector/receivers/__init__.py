"""Receivers: bytes from a socket in, a decoded batch out to an `Accept`. They know nothing of the journal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from collector.otlp import Request
from processors.types import Context

Accept: TypeAlias = Callable[[Request, Context], Awaitable[None]]
"""Takes a request (traces or logs) over; returns once it is durable, or raises a `Refusal`. The callee owns it."""

Authenticate: TypeAlias = Callable[["dict[str, str]"], str]
"""From lower-cased headers (gRPC metadata) to the tenant; raises `Unauthenticated` or `Forbidden`."""
