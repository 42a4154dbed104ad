"""Receivers: bytes from a socket in, a decoded batch out to an `Accept`. They know nothing of the journal.

A receiver is a file or a folder here: a config model, and a builder `(config, context) -> servers`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from spanbridge.collector.extensions.authentication import Authenticate
from spanbridge.processors.types import Context, Request

if TYPE_CHECKING:
    from spanbridge.collector.telemetry.metrics import Telemetry

Accept: TypeAlias = Callable[[Request, Context], Awaitable[None]]
"""Takes a request (traces or logs) over; returns once it is durable, or raises a `Refusal`. The callee owns it."""


@dataclass(frozen=True, slots=True)
class ReceiverContext:
    """What a receiver may need besides its section: its component id, where it counts, and who takes what it receives.

    `logs` is None when no pipeline takes log records from it. `authenticator` finds the authenticator of an extension's
    id; it raises a `ConfigError` when that can't be used.
    """

    id: str
    telemetry: Telemetry
    traces: Accept
    logs: Accept | None
    authenticator: Callable[[str], Authenticate]


Builder: TypeAlias = Callable[[Any, ReceiverContext], Sequence[AbstractAsyncContextManager[object]]]
"""Makes the servers of a config model: each listens from the time that it is entered until it is left.

Raises:
    ConfigError: as entering does, when a port is taken or a file that the section names can't be used.
"""
