"""Waiting for something to become true, with a deadline and no fixed sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def until(check: Callable[[], Result], seconds: float = 20.0, what: str = "it") -> Result:
    """The first truthy value of `check`; an AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        await asyncio.sleep(0.005)
    return value


def until_sync(check: Callable[[], Result], seconds: float = 60.0, what: str = "it", *, every: float = 0.02) -> Result:
    """The same for tests without an event loop."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(every)
    return value
