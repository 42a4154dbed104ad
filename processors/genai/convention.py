"""What a convention is: a way of naming GenAI facts on a span, told as tables and a few readers.

A file in `conventions/` holds one `Convention` called CONVENTION. To add one: write the file, list it in
`conventions/__init__.py`, add a golden pair under tests/data/genai.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, TypeAlias

from spanbridge.processors.genai.content.answers import chat_output as answer_of
from spanbridge.processors.genai.content.messages import chat_input as request_of
from spanbridge.processors.genai.values import decoded
from spanbridge.processors.genai.view import Layout, SpanView

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Convention:
    """How one convention names GenAI facts.

    `namespaces` are the first segments of its keys: a span with none of them is never asked further. `recognise` says
    from the keys whether a span is of this convention, and `only_if`, where keys do not tell, from the whole span. Each
    field is a reader. `originals` are the keys, and with a dot at the end the prefixes of keys, that end up in
    `mlflow.*` attributes; `remove_originals` drops them. `tags` gives trace tags; with `inherited_tags` a span counts
    only when no span above it is of the convention, for frameworks hand a run's metadata down to its children and add
    their own.
    """

    name: str
    namespaces: frozenset[str]
    recognise: Callable[[Layout], bool] = lambda _: True
    only_if: Callable[[SpanView], bool] | None = None
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
    originals: tuple[str, ...] = ()


def narrowed(read: Read, keys: frozenset[str]) -> Read | None:
    """The reader for spans with exactly these keys, or None if it says nothing of them.

    A reader that looks under certain keys alone has a method `narrowed`, that tells so from the keys.
    """
    narrow: Callable[[frozenset[str]], Read | None] | None = getattr(read, "narrowed", None)
    if narrow is not None:
        return narrow(keys)
    return None if read is nothing else read


class value:  # noqa: N801  reads as a function in the conventions' tables
    """Reads the first of the keys' values that says something, shaped if a shape is given."""

    __slots__ = ("keys", "shape")

    def __init__(self, *keys: str, shape: Callable[[Any], Any] | None = None) -> None:
        self.keys, self.shape = keys, shape

    def __call__(self, view: SpanView) -> Any:
        """The value, or None."""
        found = view.first(*self.keys)
        return found if found is None or self.shape is None else self.shape(found)

    def narrowed(self, keys: frozenset[str]) -> Read | None:
        """With only those of its keys that are there."""
        present = [key for key in self.keys if key in keys]
        if len(present) == 1 and self.shape is None and type(self) is value:
            return methodcaller("get", *present)  # the same, with one call less
        return type(self)(*present, shape=self.shape) if present else None


class name(value):  # noqa: N801  reads as a function in the conventions' tables
    """Reads the first of the keys' values that is a name."""

    __slots__ = ()

    @property
    def decided_by(self) -> tuple[str, ...]:
        """See `decided_by`."""
        return self.keys[:1]

    def __call__(self, view: SpanView) -> str | None:
        """The name, or None."""
        return view.name(*self.keys)


class lookup:  # noqa: N801  reads as a function in the conventions' tables
    """Reads what the table says of a key's value, in whatever case of letters; the table's keys are in lower case."""

    __slots__ = ("key", "table")

    def __init__(self, key: str, table: Mapping[str, str]) -> None:
        self.key, self.table = key, table

    @property
    def decided_by(self) -> tuple[str, ...]:
        """See `decided_by`."""
        return (self.key,)

    def __call__(self, view: SpanView) -> str | None:
        """What the table says, or None."""
        found = view.name(self.key)
        return self.table.get(found.lower()) if found else None

    def narrowed(self, keys: frozenset[str]) -> Read | None:
        """Itself, if its key is there."""
        return self if self.key in keys else None


class given:  # noqa: N801  reads as a function in the conventions' tables
    """A reader that has something to say only of spans with one of the keys, or a key with one of the prefixes."""

    __slots__ = ("keys", "prefixes", "read")

    def __init__(self, read: Read, *keys: str) -> None:
        self.read = read
        self.keys = frozenset(key for key in keys if not key.endswith("."))
        self.prefixes = tuple(key for key in keys if key.endswith("."))

    def __call__(self, view: SpanView) -> Any:
        """What the reader says."""
        return self.read(view)

    def narrowed(self, keys: frozenset[str]) -> Read | None:
        """The reader, if one of the keys is there."""
        if keys.isdisjoint(self.keys) and not any(key.startswith(self.prefixes) for key in keys):
            return None
        return narrowed(self.read, keys)


class word:  # noqa: N801  reads as a function in the conventions' tables
    """A reader whose fact is decided by names under certain keys, and by which keys there are besides."""

    __slots__ = ("decided_by", "read")

    def __init__(self, read: Read, *keys: str) -> None:
        self.read, self.decided_by = read, keys

    def __call__(self, view: SpanView) -> Any:
        """What the reader says."""
        return self.read(view)

    def narrowed(self, keys: frozenset[str]) -> Read:
        """Decided by those of its keys that are there."""
        return word(self.read, *(key for key in self.decided_by if key in keys))


def decided_by(read: Read) -> tuple[str, ...] | None:
    """The keys under which names decide a narrowed reader's fact, for all spans with the same keys; None if more does.

    Only where there is a name under each of them: without, a reader may go on to its next key.
    """
    return getattr(read, "decided_by", None)


class either:  # noqa: N801  reads as a function in the conventions' tables
    """Reads what the first of the readers says that says anything."""

    __slots__ = ("reads",)

    def __init__(self, *reads: Read) -> None:
        self.reads = reads

    def __call__(self, view: SpanView) -> Any:
        """The fact, or None."""
        for read in self.reads:
            found = read(view)
            if found is not None:
                return found
        return None

    def narrowed(self, keys: frozenset[str]) -> Read | None:
        """Of those readers that may say something."""
        reads = [read for one in self.reads if (read := narrowed(one, keys)) is not None]
        return either(*reads) if len(reads) > 1 else next(iter(reads), None)


def any_of(*keys: str) -> Callable[[Layout], bool]:
    """Recognises spans that have one of the keys."""
    wanted = frozenset(keys)
    return lambda layout: not wanted.isdisjoint(layout.keys)


def any_under(*prefixes: str) -> Callable[[Layout], bool]:
    """Recognises spans that have a key with one of the prefixes."""
    return lambda layout: any(key.startswith(prefixes) for key in layout.keys)


def chat_input(*keys: str) -> Read:
    """Reads the first of the keys' values, as chat where it is chat."""
    return value(*keys, shape=shown_input)


def chat_output(*keys: str) -> Read:
    """Reads the first of the keys' values, as chat where it is chat."""
    return value(*keys, shape=shown_output)


def shown_input(found: Any) -> Any:
    """An input as chat where it is chat, and otherwise (or where it shows already) as it is."""
    return _shown(found, request_of)


def shown_output(found: Any) -> Any:
    """An output as chat where it is chat, and otherwise (or where it shows already) as it is."""
    return _shown(found, answer_of)


def _shown(found: Any, shape: Callable[[Any], Any]) -> Any:
    content = decoded(found)
    if not isinstance(content, (dict, list)):
        return found
    shaped = shape(content)
    return found if shaped is None or shaped is content else shaped
