"""What a convention is: a way of naming GenAI facts on a span, as a table from facts to the keys that state them.

A file in `conventions/` holds one `Convention` called CONVENTION. Its facts are entries of a table (`value`, `name` and
`lookup` below, `UsageKeys` and `CostKeys` of usage.py) and, where keys alone do not tell, functions of the file.
docs/how-to/new-convention.md says how to add one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from spanbridge.processors.genai.content.answers import chat_output as answer_of
from spanbridge.processors.genai.content.messages import chat_input as request_of
from spanbridge.processors.genai.values import decoded
from spanbridge.processors.genai.view import Layout, SpanView

Read: TypeAlias = Callable[[SpanView], Any]
"""A reader: returns one fact of a span, or None where the span does not state it.

A reader with an attribute `keys` knows nothing of spans that have none of them, and is not asked about those.
"""

Fact: TypeAlias = Read | tuple[Read, ...]
"""How a convention states a fact: by a reader, or by several of which the first that knows counts; () is not at all."""

Event: TypeAlias = tuple[str, dict[str, Any]]
"""A span event, or a log record of the span: its name, and its attributes with the body's fields."""

Content: TypeAlias = tuple[Any, Any]
"""Inputs and outputs, each None when not stated."""

Tags: TypeAlias = Mapping[str, Any]


def no_content(_: SpanView, __: Sequence[Event]) -> Content:
    """Return no content: for a convention that writes no events."""
    return None, None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Convention:
    """How one convention names GenAI facts.

    Attributes:
        name: Its name in the configuration.
        namespaces: The first segments of its keys. A span with none of them is never asked further.
        recognise: Tells from a span's keys whether the span is of this convention.
        only_if: Tells the same from the whole span, where keys do not.
        span_type: Reads the MLflow span type.
        inputs: Reads what went in.
        outputs: Reads what came out.
        events: Reads inputs and outputs from span events or log records.
        model: Reads the model's name.
        provider: Reads the provider's name.
        usage: Reads the token usage.
        cost: Reads the cost in US dollars.
        tools: Reads the definitions of the tools that a model may call.
        message_format: Reads MLflow's message format.
        trace_name: Reads the trace's name.
        tags: Reads tags of the trace.
        inherited_tags: Whether the framework repeats a run's metadata on its children and adds their own. A span's tags
            then count only if no span above it is of the convention.
        originals: The keys, and with a dot at the end the prefixes of keys, whose values end up in `mlflow.*`
            attributes; `remove_originals` drops them.
    """

    name: str
    namespaces: frozenset[str]
    recognise: Callable[[Layout], bool] = lambda _: True
    only_if: Callable[[SpanView], bool] | None = None
    span_type: Fact = ()
    inputs: Fact = ()
    outputs: Fact = ()
    events: Callable[[SpanView, Sequence[Event]], Content] = no_content
    model: Fact = ()
    provider: Fact = ()
    usage: Fact = ()
    cost: Fact = ()
    tools: Fact = ()
    message_format: Fact = ()
    trace_name: Fact = ()
    tags: Callable[[SpanView], Tags] | None = None
    inherited_tags: bool = False
    originals: tuple[str, ...] = ()


class value:  # noqa: N801  reads as a function in the conventions' tables
    """The first of the keys' values that is not empty, shaped if a shape is given."""

    __slots__ = ("keys", "shape")

    def __init__(self, *keys: str, shape: Callable[[Any], Any] | None = None) -> None:
        self.keys, self.shape = keys, shape

    def __call__(self, view: SpanView) -> Any:
        """Return the value, or None."""
        found = view.first(*self.keys)
        return found if found is None or self.shape is None else self.shape(found)


class name:  # noqa: N801  reads as a function in the conventions' tables
    """The first of the keys' values that is a name."""

    __slots__ = ("keys",)

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def __call__(self, view: SpanView) -> str | None:
        """Return the name, or None."""
        return view.name(*self.keys)


class lookup:  # noqa: N801  reads as a function in the conventions' tables
    """What a table says of a key's value, in upper or lower case; the table's own keys are in lower case."""

    __slots__ = ("keys", "table")

    def __init__(self, key: str, table: Mapping[str, str]) -> None:
        self.keys, self.table = (key,), table

    def __call__(self, view: SpanView) -> str | None:
        """Return the table's entry, or None."""
        found = view.name(*self.keys)
        return self.table.get(found.lower()) if found else None


def readers(fact: Fact) -> tuple[Read, ...]:
    """Return the readers of a fact, best first."""
    return fact if isinstance(fact, tuple) else (fact,)


def any_of(*keys: str) -> Callable[[Layout], bool]:
    """Return a test for spans that have one of the keys."""
    wanted = frozenset(keys)
    return lambda layout: not wanted.isdisjoint(layout.keys)


def any_under(*prefixes: str) -> Callable[[Layout], bool]:
    """Return a test for spans that have a key with one of the prefixes."""
    return lambda layout: any(key.startswith(prefixes) for key in layout.keys)


def chat_input(*keys: str) -> Read:
    """Return a reader of the first of the keys' values, shaped by `shown_input`."""
    return value(*keys, shape=shown_input)


def chat_output(*keys: str) -> Read:
    """Return a reader of the first of the keys' values, shaped by `shown_output`."""
    return value(*keys, shape=shown_output)


def shown_input(found: Any) -> Any:
    """Return an input in MLflow's chat shape if it is a chat in another shape, else unchanged."""
    return _shown(found, request_of)


def shown_output(found: Any) -> Any:
    """Return an output in MLflow's chat shape if it is a chat in another shape, else unchanged."""
    return _shown(found, answer_of)


def _shown(found: Any, shape: Callable[[Any], Any]) -> Any:
    content = decoded(found)
    if not isinstance(content, (dict, list)):
        return found
    shaped = shape(content)
    return found if shaped is None or shaped is content else shaped
