"""The form of traces on their way from one process to another: bytes. Pure."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

from spanbridge.collector.otlp.bare import is_bare
from spanbridge.collector.otlp.batches import BatchDecoder
from spanbridge.processors.types import Trace


def written(traces: Sequence[Trace]) -> bytes:
    """Write traces for the other process, without their log records, which have done their work."""
    return pickle.dumps(
        [(t.serialized, t.trace_id, t.context, t.late, t.tags, t.metadata, t.client_request_id) for t in traces]
    )


def read(message: bytes) -> list[Trace]:
    """Read what `written` wrote; the traces are bare if all of them are."""
    sent = pickle.loads(message)  # noqa: S301  from our own process
    decoded, bare = BatchDecoder(), is_bare(b"".join([serialized for serialized, *_ in sent]))
    return [
        Trace(trace_id, decoded(serialized), context, late, None, tags, metadata, client_request_id, bare=bare)
        for serialized, trace_id, context, late, tags, metadata, client_request_id in sent
    ]
