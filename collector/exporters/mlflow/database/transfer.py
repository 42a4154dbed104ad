"""Traces on their way from one process to another, as bytes. Pure."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

from spanbridge.processors.types import Batch, Trace


def written(traces: Sequence[Trace]) -> bytes:
    """Traces for the other process; their log records have done their work."""
    return pickle.dumps(
        [(t.serialized, t.trace_id, t.context, t.late, t.tags, t.metadata, t.client_request_id) for t in traces]
    )


def read(message: bytes) -> list[Trace]:
    """What `written` wrote."""
    sent = pickle.loads(message)  # noqa: S301  from our own process
    return [
        Trace(trace_id, Batch.FromString(serialized), context, late, None, tags, metadata, client_request_id)
        for serialized, trace_id, context, late, tags, metadata, client_request_id in sent
    ]
