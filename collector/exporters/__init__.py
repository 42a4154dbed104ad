"""The exporters' contract."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from spanbridge.processors.types import Trace


class Exporter(Protocol):
    """Sends whole traces somewhere. Its methods are called from worker threads, several at a time."""

    def group(self, trace: Trace) -> Hashable:
        """Traces of equal group go in one `send`; pure and cheap. Raises `Denied`: this one goes nowhere."""

    def send(self, traces: Sequence[Trace]) -> int:
        """Return once the destination has all of them, but for some spans that it rejected for good: how many.

        The call may be repeated with the same traces, alone or among others, so it leaves them as they were.

        Raises:
            Retryable: later, perhaps; `Held` when an operator has to mend something first.
            Permanent: the destination says the data is bad.
        """

    def close(self) -> None:
        """Give back connections and threads; no `send` follows."""
