"""Extensions: what receivers and exporters share, and what runs by itself beside the pipelines.

An extension is a file or a folder here: a config model, and a builder `(config, context)`. What it returns depends on
its role in the table of components:

- an authenticator: an `Authenticate`, see `spanbridge.collector.extensions.authentication`;
- a storage: an `OpenJournal`;
- a server: what is to be entered while the program runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from spanbridge.collector.journal import DeadLetterLimits, Journal

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


@dataclass(slots=True)
class Health:
    """Whether the program is alive (it answers) and ready (it can accept).

    `ready` is true from the moment that every receiver listens until shutdown begins; a full journal or a missing
    MLflow leaves it true, for a restart would mend neither. `started` is in seconds since the epoch.
    """

    ready: bool = False
    started: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class ExtensionContext:
    """What an extension may need besides its section: its component id, and what is to be told of the program."""

    id: str
    health: Health
    registry: CollectorRegistry


@dataclass(frozen=True, slots=True)
class JournalOptions:
    """The journal that a pipeline wants. `capacity` is in bytes.

    `on_corrupt` is told where what could not be read is kept, `on_dropped` how many rows that were set aside had to go.
    """

    pipeline: str
    capacity: int
    dead_letter_limits: DeadLetterLimits
    on_corrupt: Callable[[Path], None]
    on_dropped: Callable[[int], None]


OpenJournal: TypeAlias = Callable[[JournalOptions], AbstractAsyncContextManager[Journal]]
"""Opens the journal of a pipeline in a storage; it is open while the context lasts.

Raises:
    ConfigError: the storage can't be used, or another process has the journal open.
"""

Builder: TypeAlias = Callable[[Any, ExtensionContext], Any]
"""Makes an extension of its config model; see above for what it returns.

Raises:
    ConfigError: a file that the section names can't be used.
"""
