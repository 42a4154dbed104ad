"""The bench mix as the OTLP requests in which different senders would put it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.processors.types import Batch, Trace, spans_in_context
from tests.samples.traces import batch

Placed: TypeAlias = tuple[Resource, InstrumentationScope, Span]

SPANS = 8
"""Of a trace of the mix."""
BATCH = 512
"""Spans of a request: OTEL_BSP_MAX_EXPORT_BATCH_SIZE of the SDKs."""


def whole(traces: Sequence[Trace], size: int) -> list[bytes]:
    """Requests of `size` whole traces: the kindest that could happen to a tracking server."""
    return [batch(traces[start : start + size]).SerializeToString() for start in range(0, len(traces), size)]


def as_they_end(traces: Sequence[Trace], seconds: int = 1) -> list[bytes]:
    """Requests of 512 spans in the order in which the spans ended, which is how SDKs and the Collector pass them on.

    A trace of the mix begins every 10 ms, about as many as a tracking server can keep up with. As it is, it lasts 1 s
    and a call of a model 0.1 s: a hundred are under way at any time, and a trace is spread over two requests, a few
    over three. `seconds` sends them as if they lasted that long: with 5 a call of a model takes half a second, and a
    trace is spread over four to six requests.
    """

    def ended(placed: Placed) -> int:
        begun = begins[placed[2].trace_id]
        return begun + (placed[2].end_time_unix_nano - begun) * seconds

    spans = list(_flat(traces))
    begins = {span.trace_id: span.start_time_unix_nano for _, _, span in spans if not span.parent_span_id}
    spans.sort(key=ended)
    return [_request(spans[start:end]) for start, end in pairwise([*range(0, len(spans), BATCH), len(spans)])]


def one_after_the_other(traces: Sequence[Trace]) -> list[bytes]:
    """Requests of 512 spans from a stream in which no two traces overlap: a trace at each seam is cut in two."""
    spans = list(_flat(traces))
    cuts = [0, *range(BATCH - SPANS // 2, len(spans), BATCH), len(spans)]
    return [_request(spans[start:end]) for start, end in pairwise(cuts)]


def _flat(traces: Sequence[Trace]) -> Iterator[Placed]:
    return (placed for trace in traces for placed in spans_in_context(trace.batch))


def _request(spans: Sequence[Placed]) -> bytes:
    """All spans of the mix are of one resource and scope, which an SDK sends once."""
    request, (resource, scope, _) = Batch(), spans[0]
    found = request.resource_spans.add(resource=resource).scope_spans.add(scope=scope)
    found.spans.extend(span for _, _, span in spans)
    return request.SerializeToString()
