"""Who sends: the contract of the authenticators, one file each beside this one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sends: a name, and globs of the experiments that it may write to (none: all); see `collector.tenancy`."""

    tenant: str = ""
    allow_experiments: tuple[str, ...] = ()


Authenticate: TypeAlias = Callable[["dict[str, str]"], Awaitable[Identity]]
"""From lower-cased headers (gRPC metadata) to who sends them; raises `Unauthenticated`, or `Busy`."""
