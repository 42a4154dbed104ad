"""Receivers: bytes from a socket in, a decoded batch out to an `Accept`. They know nothing of the journal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from spanbridge.collector.otlp.requests import Request
from spanbridge.processors.types import Context

Accept: TypeAlias = Callable[[Request, Context], Awaitable[None]]
"""Takes a request (traces or logs) over; returns once it is durable, or raises a `Refusal`. The callee owns it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sends: a name, and globs of the experiments that it may write to (none: all); see `collector.tenancy`."""

    tenant: str = ""
    allow_experiments: tuple[str, ...] = ()


Authenticate: TypeAlias = Callable[["dict[str, str]"], Awaitable[Identity]]
"""From lower-cased headers (gRPC metadata) to who sends them; raises `Unauthenticated`, or `Busy`."""
