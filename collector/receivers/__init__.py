"""Receivers: bytes from a socket in, a decoded batch out to an `Accept`. They know nothing of the journal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from spanbridge.collector.otlp.requests import Request
from spanbridge.processors.types import Context

Accept: TypeAlias = Callable[[Request, Context], Awaitable[None]]
"""Takes a request (traces or logs) over; returns once it is durable, or raises a `Refusal`. The callee owns it."""
