"""What a convention is: a way of naming GenAI facts on a span, told as tables and a few readers.

A file in `conventions/` holds one `Convention` called CONVENTION. To add one: write the file, list it in
`conventions/__init__.py`, add a golden pair under tests/data/genai.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from processors.genai import messages
from processors.genai.values import as_name, decoded
from processors.genai.view import SpanView

Read: TypeAlias = Callable[[SpanView], Any]
"""Reads one fact off a span; None means that the span does not state it."""

Event: TypeAlias = tuple[str, dict[str, Any]]
"""A span event, or a log record of the span: its name, and its attributes with the body's fields."""

Content: TypeAlias = tuple[Any, Any]
"""Inputs and outputs, each None when not stated."""

Tags: TypeAlias = Mapping[str, Any]


def nothing(_: SpanView) -> None:
    """The reader of a fact that a convention does not state."""


def no_content(_: SpanView, __: Sequence[Event]) -> Content:
    """The event reader of a convention that writes no events."""
    return None, None


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """How one convention names GenAI facts.

    `namespaces` are the first segments of its keys: a span with none of them is never asked further. `recognise` says
    whether the span is of this convention. Each field is a reader; `session` and `user` are keys, best first.
    `originals` are the keys, and with a dot at the end the prefixes of keys, that end up in `mlflow.*` attributes;
    `remove_originals` drops them. `tags` gives trace tags; with `inherited_tags` a span counts only when no span above
    it is of the convention, for frameworks hand a run's metadata down to its children and add their own.
    """

    name: str
    namespaces: frozenset[str]
    recognise: Callable[[SpanView], bool]
    span_type: Read = nothing
    inputs: Read = nothing
    outputs: Read = nothing
    events: Callable[[SpanView, Sequence[Event]], Content] = no_content
    model: Read = nothing
    provider: Read = nothing
    usage: Read = nothing
    cost: Read = nothing
    tools: Read = nothing
    message_format: Read = nothing
    trace_name: Read = nothing
    tags: Callable[[SpanView], Tags] | None = None
    inherited_tags: bool = False
    originals: tuple[str, ...] = field(default=())


def any_of(*keys: str) -> Callable[[SpanView], bool]:
    """Recognises spans that have one of the keys."""
    wanted = frozenset(keys)
    return lambda view: not wanted.isdisjoint(view.raw)


def any_under(*prefixes: str) -> Callable[[SpanView], bool]:
    """Recognises spans that have a key with one of the prefixes."""
    return lambda view: any(key.startswith(prefixes) for key in view.raw)


def value(*keys: str) -> Read:
    """The first of the keys' values, as it is."""
    return lambda view: view.first(*keys)


def name(*keys: str) -> Callable[[SpanView], str | None]:
    """The first of the keys' values that is a name."""

    def read(view: SpanView) -> str | None:
        return next((found for key in keys if key in view.raw and (found := as_name(view.get(key)))), None)

    return read


def lookup(key: str, table: Mapping[str, str]) -> Callable[[SpanView], str | None]:
    """What the table says of the key's value, in whatever case of letters; the table's keys are in lower case."""

    def read(view: SpanView) -> str | None:
        found = as_name(view.get(key))
        return table.get(found.lower()) if found else None

    return read


def either(*reads: Read) -> Read:
    """The first reader's fact that is stated."""

    def read(view: SpanView) -> Any:
        for one in reads:
            found = one(view)
            if found is not None:
                return found
        return None

    return read


def chat_input(*keys: str) -> Read:
    """The first of the keys' values, as chat where it is chat."""
    return lambda view: shown_input(view.first(*keys))


def chat_output(*keys: str) -> Read:
    """The first of the keys' values, as chat where it is chat."""
    return lambda view: shown_output(view.first(*keys))


def shown_input(found: Any) -> Any:
    """An input as chat where it is chat, and otherwise (or where it shows already) as it is."""
    return _shown(found, messages.chat_input)


def shown_output(found: Any) -> Any:
    """An output as chat where it is chat, and otherwise (or where it shows already) as it is."""
    return _shown(found, messages.chat_output)


def _shown(found: Any, shape: Callable[[Any], Any]) -> Any:
    content = decoded(found)
    if not isinstance(content, (dict, list)):
        return found
    shaped = shape(content)
    return found if shaped is None or shaped is content else shaped
