"""A clock for traces under construction: it stands still while rows of the journal go unread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class PausableClock:
    """A clock in seconds that can be stopped.

    When there is no memory for another row, as in an outage of the destination, spans that came in time wait in the
    journal unseen. A trace that was taken to be complete meanwhile would be decided, or written, without them.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lost = 0.0
        self._paused_at: float | None = None

    def __call__(self) -> float:
        """Return the time."""
        return (self._now() if self._paused_at is None else self._paused_at) - self._lost

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let no time pass within the block; not to be nested."""
        self._paused_at = self._now()
        try:
            yield
        finally:
            self._lost += self._now() - self._paused_at
            self._paused_at = None
