"""Exporters send whole traces somewhere. The contract of an exporter, and what its builder returns.

An exporter is a file or a folder here: a config model, and a builder `(config, environ) -> ConfiguredExporter`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from spanbridge.processors.types import Trace

if TYPE_CHECKING:
    from spanbridge.collector.exporters.config import RetryConfig


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


@dataclass(frozen=True, slots=True)
class SendLimits:
    """One send holds at most so many traces and spans; it waits `linger` seconds for `min_spans` to come together."""

    max_traces: int = 64
    max_spans: int = 2048
    min_spans: int = 0
    linger: float = 0.0


FORWARD_SEND = SendLimits(max_traces=8192, max_spans=8192)
"""The limits of exporters that hand traces on: the Collector's send_batch_size."""


@dataclass(frozen=True, slots=True)
class ConfiguredExporter:
    """An exporter and how it wants to be fed: its usual limits, how many sends run at once, pauses after failures."""

    exporter: Exporter
    limits: SendLimits
    consumers: int
    retry: RetryConfig


Builder: TypeAlias = Callable[[Any, Mapping[str, str]], ConfiguredExporter]
"""Makes an exporter of its config model and the environment.

Raises:
    ConfigError: a file that the section names can't be read, or a module that it needs is not installed.
"""
