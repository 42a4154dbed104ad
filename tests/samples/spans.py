"""Makers of OTLP requests for tests: ids and times are given or counted up, never random."""

from __future__ import annotations

from itertools import count

from spanbridge.processors.attributes import Value, put
from spanbridge.processors.types import Batch

_ids = count(1)
START = 1_700_000_000_000_000_000


def new_id(size: int = 8) -> bytes:
    """A fresh id of `size` bytes."""
    return next(_ids).to_bytes(size, "big")


def add_span(batch: Batch, trace_id: bytes, name: str = "span", *, parent: bytes = b"", **attributes: Value) -> bytes:
    """Add a span of 1 ms to the batch's only resource and scope; returns its id."""
    resource = batch.resource_spans[0] if batch.resource_spans else batch.resource_spans.add()
    scope = resource.scope_spans[0] if resource.scope_spans else resource.scope_spans.add()
    span = scope.spans.add(trace_id=trace_id, span_id=new_id(), parent_span_id=parent, name=name)
    span.start_time_unix_nano, span.end_time_unix_nano = START, START + 1_000_000
    for key, value in attributes.items():
        put(span.attributes, key, value)
    return span.span_id


def trace_batch(trace_id: bytes | None = None, size: int = 3, *, service: str = "app", name: str = "root") -> Batch:
    """A whole trace: a root and `size` - 1 children, children first as they end."""
    batch, trace_id = Batch(), trace_id or new_id(16)
    put(batch.resource_spans.add().resource.attributes, "service.name", service)
    root = new_id()
    for number in range(size - 1):
        add_span(batch, trace_id, f"child {number}", parent=root)
    add_span(batch, trace_id, name)
    batch.resource_spans[0].scope_spans[0].spans[-1].span_id = root
    return batch
