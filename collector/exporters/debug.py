"""`debug`, formerly `logging`: writes what goes by to the log, as the Collector's exporter does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt

from spanbridge.collector.exporters import FORWARD_SEND, ConfiguredExporter, SerializedTrace
from spanbridge.collector.exporters.config import RetryConfig, SendingQueueConfig
from spanbridge.collector.settings import AnyCase
from spanbridge.processors.attributes import find
from spanbridge.processors.settings import ConfigModel
from spanbridge.processors.types import Batch, Trace, span_count, spans_in_context

log = logging.getLogger(__name__)

_OUTPUT = "it writes to the log of the bridge."
_EVERY = "every message is written."


class DebugExporterConfig(ConfigModel):
    """`debug`: writes what arrives to the log."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "output_paths": _OUTPUT,
        "sampling_initial": _EVERY,
        "sampling_thereafter": _EVERY,
        "use_internal_logger": _OUTPUT,
    }

    verbosity: Annotated[Literal["basic", "normal", "detailed"], AnyCase] = Field(
        default="basic", description="What is written: counts (basic), a line a span (normal), every field (detailed)."
    )
    sampling_initial: NonNegativeInt = Field(default=2, description="Without effect here: " + _EVERY)
    sampling_thereafter: NonNegativeInt = Field(default=1, description="Without effect here: " + _EVERY)
    use_internal_logger: bool = Field(default=True, description="Without effect here: " + _OUTPUT)
    output_paths: tuple[str, ...] = Field(default=(), description="Without effect here: " + _OUTPUT)
    sending_queue: SendingQueueConfig = Field(
        default=SendingQueueConfig(),
        description="The journal before the exporter, and how many sends run at once.",
    )


def build(config: DebugExporterConfig, _environ: Mapping[str, str]) -> ConfiguredExporter:
    """Return the exporter of a section."""
    exporter = DebugExporter(config.verbosity)
    return ConfiguredExporter(exporter, FORWARD_SEND, config.sending_queue.num_consumers, RetryConfig())


class DebugExporter:
    """`basic` logs counts, `normal` a line a span, `detailed` every field. Meant for a person at a terminal."""

    def __init__(self, verbosity: str, write: Callable[[str], None] = log.info) -> None:
        self._verbosity = verbosity
        self._write = write

    def group(self, trace: Trace) -> Hashable:
        """Return None: all traces may go together."""
        return None

    def send(self, traces: Sequence[SerializedTrace]) -> int:
        """Log; never fails."""
        batches = [Batch.FromString(trace.payload) for trace in traces]
        self._write(f"Traces: {len(traces)}, spans: {sum(map(span_count, batches))}")
        for batch in batches if self._verbosity != "basic" else ():
            if self._verbosity == "detailed":
                self._write(str(batch))
                continue
            for resource, _, span in spans_in_context(batch):
                service = find(resource.attributes, "service.name")
                name = service.string_value if service else "unknown"
                self._write(f"{name} {span.name!r} {span.trace_id.hex()} {span.span_id.hex()}")
        return 0

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""
