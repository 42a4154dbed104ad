"""The types that travel between stages: the OTLP message itself, its context, and one trace after assembly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Batch: TypeAlias = ExportTraceServiceRequest
Logs: TypeAlias = ExportLogsServiceRequest
Request: TypeAlias = Batch | Logs

NO_PARENT = (b"", bytes(8))
"""Parent ids that mark a root span; MLflow reads eight zero bytes as no parent too."""


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of a batch from how it came; journalled beside it, so that it survives a crash.

    `experiment_id`, `experiment_name`, `run_id` and `workspace` are the client's `x-mlflow-*` headers, `tenant` the
    authenticated identity, `receiver` the component id that took the batch in. Empty means not given.
    `allow_experiments` are globs of the experiments that the tenant may write to; none means all of them.
    """

    experiment_id: str = ""
    experiment_name: str = ""
    run_id: str = ""
    workspace: str = ""
    tenant: str = ""
    receiver: str = ""
    allow_experiments: tuple[str, ...] = ()


@dataclass(slots=True)
class Trace:
    """One trace after assembly, whole or the part of it that has come: every span in `batch` has this `trace_id`.

    `late` says that an earlier part of it was handed on before. `logs` are the log records that belong to its spans.
    `tags`, `metadata` and `client_request_id` are what processors want MLflow's trace to carry besides what the spans
    say; how they get there is the destination's business.
    """

    trace_id: bytes
    batch: Batch
    context: Context = field(default_factory=Context)
    late: bool = False
    logs: Logs | None = None
    tags: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    client_request_id: str = ""

    @property
    def root(self) -> Span | None:
        """The span without a parent (the earliest, should there be several), or None."""
        roots = [span for span in spans(self.batch) if span.parent_span_id in NO_PARENT]
        return min(roots, key=lambda span: span.start_time_unix_nano) if roots else None


Processor: TypeAlias = Callable[[Batch], Batch]
"""A head-stage processor; may edit the batch in place. An empty batch means: all dropped."""

TraceProcessor: TypeAlias = Callable[[Trace], Trace | None]
"""A trace-stage processor; may edit the trace in place. None means: dropped by a rule that is counted."""


def spans(batch: Batch) -> Iterator[Span]:
    """Every span of a batch, in order."""
    for resource_spans in batch.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            yield from scope_spans.spans


def spans_in_context(batch: Batch) -> Iterator[tuple[Resource, InstrumentationScope, Span]]:
    """Every span of a batch with its resource and scope, in order."""
    for resource_spans in batch.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield resource_spans.resource, scope_spans.scope, span


def span_count(batch: Batch) -> int:
    """How many spans a batch holds."""
    return sum(len(ss.spans) for rs in batch.resource_spans for ss in rs.scope_spans)
