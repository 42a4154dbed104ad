"""A buffer that makes whole traces of the spans that a program ends: for the exporter's use without the collector."""

from __future__ import annotations

import threading
from collections import OrderedDict

from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags

from spanbridge.processors.types import NO_PARENT, Batch, Trace, span_count, spans_in_context

CAPACITY = 10_000
"""Spans held at most; beyond it the oldest traces go out as they are."""

REMEMBERED = 10_000
"""Traces of which it is remembered that a part went out."""


class TraceBuffer:
    """The spans of traces whose root, or whose span that a remote parent called, has not ended yet. Thread-safe.

    Args:
        capacity: Spans held at most; beyond it the oldest traces go out as they are.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._open: OrderedDict[bytes, Batch] = OrderedDict()
        self._held = 0
        self._released: OrderedDict[bytes, None] = OrderedDict()

    def add(self, batch: Batch) -> list[Trace]:
        """Take spans in.

        Returns:
            The traces that go out now: whole ones, and the oldest where there are too many.
        """
        with self._lock:
            ended = set()
            for resource, scope, span in spans_in_context(batch):
                held = self._open.setdefault(span.trace_id, Batch())
                scope_spans = held.resource_spans.add(resource=resource).scope_spans.add(scope=scope)
                scope_spans.spans.append(span)
                self._held += 1
                if _is_local_root(span):
                    ended.add(span.trace_id)
            released = [self._release(trace_id) for trace_id in [key for key in self._open if key in ended]]
            while self._held > self._capacity:
                released.append(self._release(next(iter(self._open))))
            return released

    def flush(self) -> list[Trace]:
        """Give out all that is held, whole or not."""
        with self._lock:
            return [self._release(trace_id) for trace_id in list(self._open)]

    def _release(self, trace_id: bytes) -> Trace:
        batch = self._open.pop(trace_id)
        self._held -= span_count(batch)
        trace = Trace(trace_id, batch, late=trace_id in self._released)
        self._released[trace_id] = None
        if len(self._released) > REMEMBERED:
            self._released.popitem(last=False)
        return trace


def _is_local_root(span: Span) -> bool:
    return span.parent_span_id in NO_PARENT or bool(span.flags & SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
