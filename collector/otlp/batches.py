"""Batches decoded into memory that they share. Pure."""

from __future__ import annotations

from typing import cast

from spanbridge.collector.otlp.message_class import field, message, message_class
from spanbridge.processors.types import Batch

SHARED = 256 << 10
"""Serialized bytes whose messages share memory; a batch of a quarter of that has its own."""

_Home = message_class(
    "spanbridge.batches",
    message("Batches", field("batches", 1, Batch.DESCRIPTOR.full_name, repeated=True)),
    file=Batch.DESCRIPTOR.file.name,
)


class BatchDecoder:
    """Decodes batches that live for a short while: the memory of some goes when the last of them does.

    By itself, one of eight spans takes and frees seven blocks of memory. After every 10,000 freed blocks protobuf's
    runtime makes the system take back all that is free (python/protobuf.c), and what is needed next is mapped and
    cleared anew.
    """

    def __init__(self) -> None:
        self._home, self._held = _Home(), 0

    def __call__(self, serialized: bytes) -> Batch:
        """The batch.

        Raises:
            DecodeError: it is none.
        """
        size = len(serialized)
        if size > SHARED // 4:
            return Batch.FromString(serialized)
        if self._held + size > SHARED:
            self._home, self._held = _Home(), 0
        self._held += size
        batch = cast(Batch, self._home.batches.add())
        batch.MergeFromString(serialized)
        return batch
