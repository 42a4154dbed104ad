"""Whether a batch is bare: no span of it has events or links. Pure.

To ask a span for a list that it does not have costs protobuf a block of memory, for each span (python/message.c
GetStub). So it is told from the bytes, for all spans at once: a message of which nothing is repeated, read from one of
which something is, has in it what any of them has (https://protobuf.dev/programming-guides/encoding#last-one-wins).
"""

from __future__ import annotations

from spanbridge.collector.otlp.message_class import field, message, message_class

_PACKAGE = "spanbridge.bare"
_SOUGHT = ("events", "links")

_Request = message_class(
    _PACKAGE,
    message("Request", field("resource_spans", 1, f"{_PACKAGE}.ResourceSpans")),
    message("ResourceSpans", field("scope_spans", 2, f"{_PACKAGE}.ScopeSpans")),
    message("ScopeSpans", field("spans", 2, f"{_PACKAGE}.Span")),
    message("Span", field("events", 11), field("links", 13)),
)
"""A request that has one span at most, of which events and links alone are read (trace/v1/trace.proto)."""


def is_bare(serialized: bytes | bytearray) -> bool:
    """Whether no span of a serialized batch, or of several one after the other, has events or links.

    Raises:
        DecodeError: it is no batch.
    """
    span = _Request.FromString(serialized).resource_spans.scope_spans.spans
    return not any(map(span.HasField, _SOUGHT))
