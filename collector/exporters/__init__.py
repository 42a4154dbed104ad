"""Exporters send whole traces somewhere. The contract of one, the trace as it gets it, what its builder returns.

An exporter is a file or a folder here: a config model, and a builder `(config, environ) -> ConfiguredExporter`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from spanbridge.processors.types import Batch, Context, Trace

if TYPE_CHECKING:
    from spanbridge.collector.exporters.config import RetryConfig


@dataclass(frozen=True, slots=True)
class SerializedTrace:
    """A trace that no processor changes any more, as it waits for delivery: in a fifth of the memory of a `Trace`.

    `payload` is the serialized OTLP request with its spans; the other fields are those of `Trace`. Its log records have
    done their work and are gone. One object may be with several exporters at a time: nobody changes its mappings.
    """

    trace_id: bytes
    payload: bytes
    context: Context = field(default_factory=Context)
    late: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    client_request_id: str = ""

    @classmethod
    def of(cls, trace: Trace) -> SerializedTrace:
        """Return a trace serialized."""
        return cls(
            trace.trace_id,
            trace.batch.SerializeToString(),
            trace.context,
            trace.late,
            trace.tags,
            trace.metadata,
            trace.client_request_id,
        )

    def decode(self) -> Trace:
        """Return the trace decoded, a new one each time, to do with as one likes."""
        return Trace(
            self.trace_id,
            Batch.FromString(self.payload),
            self.context,
            self.late,
            None,
            dict(self.tags),
            dict(self.metadata),
            self.client_request_id,
        )


class Exporter(Protocol):
    """Sends traces somewhere. Its methods are called from worker threads, several at a time."""

    def group(self, trace: Trace) -> Hashable:
        """Return what traces have in common that may go in one `send`; pure and cheap, as it is asked for each trace.

        Raises:
            Denied: the trace may go nowhere.
        """

    def send(self, traces: Sequence[SerializedTrace]) -> int:
        """Return once the destination has all traces, which are of one group.

        The call may be repeated with the same traces, alone or among others.

        Returns:
            How many of the spans the destination rejected for good.

        Raises:
            Retryable: later, perhaps; `Held` when an operator has to mend something first.
            Permanent: the destination says that the data is bad.
        """

    def close(self) -> None:
        """Give back connections and threads; no `send` follows."""


@dataclass(frozen=True, slots=True)
class SendLimits:
    """How much goes in one send: at most so many traces and spans.

    `send_batch_size` and `timeout` are the batch processor's keys: a send waits `timeout` seconds for so many spans to
    come together.
    """

    max_traces: int = 64
    max_spans: int = 2048
    send_batch_size: int = 0
    timeout: float = 0.0


FORWARD_SEND = SendLimits(max_traces=8192, max_spans=8192)
"""The limits of exporters that hand traces on: the Collector's send_batch_size."""


@dataclass(frozen=True, slots=True)
class ConfiguredExporter:
    """An exporter and how it wants to be fed: its usual limits, how many sends run at once, pauses after failures."""

    exporter: Exporter
    limits: SendLimits
    num_consumers: int
    retry_on_failure: RetryConfig


Builder: TypeAlias = Callable[[Any, Mapping[str, str]], ConfiguredExporter]
"""Makes an exporter of its config model and the environment.

Raises:
    ConfigError: a file that the section names can't be read, or a module that it needs is not installed.
"""
