"""The paths of the OTTL contexts resource, scope, span and spanevent: what `span.status.code` reads.

Source: the READMEs of contrib's pkg/ottl/contexts. A record is the tuple (resource, scope, span, event), as much of it
as the context has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.processors.attributes import as_dict, find, to_python
from spanbridge.processors.ottl.errors import OttlError
from spanbridge.processors.ottl.values import Time, Value, index
from spanbridge.processors.trace_state import TraceStateError, members

ContextName: TypeAlias = Literal["resource", "scope", "span", "spanevent"]
Record: TypeAlias = tuple[Any, ...]
Getter: TypeAlias = Callable[[Record], Value]
Field: TypeAlias = Callable[[Any], Value]

_RESOURCE, _SCOPE, _SPAN, _EVENT = range(4)


@dataclass(frozen=True, slots=True)
class Constant:
    """A getter whose value is known when the condition is compiled; functions look for it to prepare once."""

    value: Value

    def __call__(self, _record: Record) -> Value:
        """Return the value."""
        return self.value


@dataclass(frozen=True, slots=True)
class Path:
    """A path as written, for editors that write to it: `attributes["a"]["b"]` in context span, with its keys."""

    level: int
    fields: tuple[str, ...]
    keys: tuple[Getter, ...]

    def target(self, record: Record) -> Any:
        """Return the message that the path starts from: resource, scope, span or event."""
        return record[self.level]


def _attributes(message: Any) -> Iterable[KeyValue]:
    return message.attributes  # type: ignore[no-any-return]


_KINDS: Final[Mapping[int, str]] = {
    number: name.removeprefix("SPAN_KIND_").capitalize() for name, number in Span.SpanKind.items()
}


def _parent_id(span: Span) -> bytes:
    """Return eight bytes; a root's are all zero, as pdata shows them."""
    return span.parent_span_id or bytes(8)


def _kind_name(number: int) -> str:
    return _KINDS.get(number, "Unspecified")


_COMMON: Final[Mapping[str, Field]] = {
    "attributes": lambda message: dict(as_dict(message.attributes)),
    "dropped_attributes_count": lambda message: message.dropped_attributes_count,
}

_SPAN_FIELDS: Final[Mapping[str, Field]] = {
    **_COMMON,
    "trace_id": lambda span: span.trace_id,
    "trace_id.string": lambda span: span.trace_id.hex(),
    "span_id": lambda span: span.span_id,
    "span_id.string": lambda span: span.span_id.hex(),
    "parent_span_id": _parent_id,
    "parent_span_id.string": lambda span: _parent_id(span).hex(),
    "trace_state": lambda span: span.trace_state,
    "name": lambda span: span.name,
    "kind": lambda span: span.kind,
    "kind.string": lambda span: _kind_name(span.kind),
    "flags": lambda span: span.flags,
    "status": lambda span: {"code": span.status.code, "message": span.status.message},
    "status.code": lambda span: span.status.code,
    "status.message": lambda span: span.status.message,
    "start_time_unix_nano": lambda span: span.start_time_unix_nano,
    "end_time_unix_nano": lambda span: span.end_time_unix_nano,
    "start_time": lambda span: Time(span.start_time_unix_nano),
    "end_time": lambda span: Time(span.end_time_unix_nano),
    "events": lambda span: [as_dict(event.attributes) for event in span.events],
    "links": lambda span: [as_dict(link.attributes) for link in span.links],
    "dropped_events_count": lambda span: span.dropped_events_count,
    "dropped_links_count": lambda span: span.dropped_links_count,
}

_FIELDS: Final[Mapping[int, Mapping[str, Field]]] = {
    _RESOURCE: _COMMON,
    _SCOPE: {**_COMMON, "name": lambda scope: scope.name, "version": lambda scope: scope.version},
    _SPAN: _SPAN_FIELDS,
    _EVENT: {
        **_COMMON,
        "name": lambda event: event.name,
        "time_unix_nano": lambda event: event.time_unix_nano,
        "time": lambda event: Time(event.time_unix_nano),
    },
}

_LEVELS: Final[Mapping[str, int]] = {
    "resource": _RESOURCE,
    "instrumentation_scope": _SCOPE,
    "scope": _SCOPE,
    "span": _SPAN,
    "spanevent": _EVENT,
}


def resolve(context: ContextName, fields: tuple[str, ...], keys: tuple[Getter, ...]) -> tuple[Path, Getter]:
    """Return a path and its getter.

    Raises:
        OttlError: The context has no such path.
    """
    own = _LEVELS[context]
    level, rest = own, fields
    if len(fields) > 1 and fields[0] in _LEVELS:
        level, rest = _LEVELS[fields[0]], fields[1:]
    name = ".".join(rest)
    if level > own or name not in _FIELDS[level]:
        raise OttlError(f"{'.'.join(fields)} is not a path of context {context}")
    return Path(level, rest, keys), _getter(level, name, keys)


def _getter(level: int, name: str, keys: tuple[Getter, ...]) -> Getter:
    if not keys:
        field = _FIELDS[level][name]
        return lambda record: field(record[level])
    if name == "attributes":
        read = _attribute_reader(level, keys[0])
    elif name == "trace_state" and len(keys) == 1:
        return lambda record: _trace_state_member(record[level].trace_state, keys[0](record))
    else:
        raise OttlError(f"{name} can't be indexed")
    return read if len(keys) == 1 else _nested(read, keys[1:])


def _attribute_reader(level: int, key: Getter) -> Getter:
    def read(record: Record) -> Value:
        name = key(record)
        if not isinstance(name, str):
            raise OttlError("attributes are indexed by a string")
        found = find(_attributes(record[level]), name)
        return None if found is None else to_python(found)

    return read


def _nested(read: Getter, keys: tuple[Getter, ...]) -> Getter:
    def nested(record: Record) -> Value:
        value = read(record)
        for key in keys:
            value = index(value, key(record))
        return value

    return nested


def _trace_state_member(trace_state: str, key: Value) -> Value:
    try:
        return next((value for name, value in members(trace_state) if name == key), None)
    except TraceStateError:
        return None
