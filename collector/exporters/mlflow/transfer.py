"""Traces on their way from one process to another, as bytes. Pure."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError

from collector.wire import wrapped
from processors.types import Batch, Trace

_BATCHES = 1


def _message() -> Any:
    """The class of a message that is `repeated ExportTraceServiceRequest batches = 1`."""
    batch = Batch.DESCRIPTOR
    file = FileDescriptorProto(name="spanbridge/batches.proto", package="spanbridge", dependency=[batch.file.name])
    file.message_type.add(name="Batches").field.add(
        name="batches",
        number=_BATCHES,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        label=FieldDescriptorProto.LABEL_REPEATED,
        type_name=f".{batch.full_name}",
    )
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("spanbridge.Batches"))


_Batches = _message()


def written(traces: Sequence[Trace]) -> bytes:
    """Traces for the other process; their log records have done their work."""
    return pickle.dumps(
        [(t.serialized, t.trace_id, t.context, t.late, t.tags, t.metadata, t.client_request_id) for t in traces]
    )


def read(message: bytes) -> list[Trace]:
    """What `written` wrote."""
    sent = pickle.loads(message)  # noqa: S301  from our own process
    return [
        Trace(trace_id, batch, context, late, None, tags, metadata, client_request_id)
        for batch, (_, trace_id, context, late, tags, metadata, client_request_id) in zip(
            _decoded([serialized for serialized, *_ in sent]), sent, strict=True
        )
    ]


def _decoded(batches: Sequence[bytes]) -> Sequence[Batch]:
    """All of them at once, if they are not nested as deep as protobuf allows.

    One by one its runtime takes and frees ten times the blocks of memory, and makes the system take all back that is
    free after every 10,000 of them (python/protobuf.c).
    """
    try:
        found: Sequence[Batch] = _Batches.FromString(b"".join(wrapped(_BATCHES, batch) for batch in batches)).batches
    except DecodeError:
        return [Batch.FromString(batch) for batch in batches]
    return found
