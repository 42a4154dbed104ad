"""Traces on their way from one process to another, as bytes. Pure."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

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
    batches = b"".join(wrapped(_BATCHES, t.serialized) for t in traces)
    return pickle.dumps(
        (batches, [(t.trace_id, t.context, t.late, t.tags, t.metadata, t.client_request_id) for t in traces])
    )


def read(message: bytes) -> list[Trace]:
    """What `written` wrote.

    All of it is one message of protobuf's: with one for each trace its runtime takes and frees a dozen times the blocks
    of memory, and makes the system take back all that is free after every 10,000 (python/protobuf.c).
    """
    batches, others = pickle.loads(message)  # noqa: S301  from our own process
    return [
        Trace(trace_id, batch, context, late, None, tags, metadata, client_request_id)
        for batch, (trace_id, context, late, tags, metadata, client_request_id) in zip(
            _Batches.FromString(batches).batches, others, strict=True
        )
    ]
