"""Protobuf messages described in code. Pure.

A description is itself a message (google/protobuf/descriptor.proto). It is written field by field, as the module with
its classes would take a sidecar 0.8 MB.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pool, message_factory

from spanbridge.collector.otlp.wire import small, wrapped

_OPTIONAL, _REPEATED = 1, 3
_MESSAGE, _BYTES = 11, 12


def field(name: str, number: int, message: str = "", *, repeated: bool = False) -> bytes:
    """A field that holds the message of that full name, or bytes."""
    label = _REPEATED if repeated else _OPTIONAL
    kind = small(5, _MESSAGE) + wrapped(6, f".{message}".encode()) if message else small(5, _BYTES)
    return wrapped(1, name.encode()) + small(3, number) + small(4, label) + kind


def message(name: str, *fields: bytes) -> bytes:
    """A message of such fields; those that are not repeated know whether they were there."""
    return wrapped(1, name.encode()) + b"".join(wrapped(2, each) for each in fields)


def message_class(package: str, *messages: bytes, file: str = "") -> Any:
    """The class of the first of the messages, whose package is new; `file` describes what they hold besides."""
    described = wrapped(1, f"{package}.proto".encode()) + wrapped(2, package.encode())
    described += wrapped(3, file.encode()) if file else b""
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(described + b"".join(wrapped(4, each) for each in messages))
    (first, *_) = pool.FindFileByName(f"{package}.proto").message_types_by_name.values()
    return message_factory.GetMessageClass(first)
