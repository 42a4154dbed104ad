"""Recognition of a span by its keys: its conventions, and which of their readers may know something of it.

An application's spans have the same few sets of keys again and again, and asking every reader of every convention about
each span would cost several times what the answers do. So the work is split: what depends on keys alone is worked out
once for each set of keys (`Recognised`), and a span then costs one look-up and the readers that may know something.
A convention's file need not know of this: it states keys, and a reader that states none is asked about every span.

Keys are anybody's input, so what is remembered is bounded in number and size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.processors.attributes import by_key
from spanbridge.processors.genai import mlflow_attributes as mlflow
from spanbridge.processors.genai.config import GenAiConfig
from spanbridge.processors.genai.convention import Content, Convention, Event, Fact, Read, readers
from spanbridge.processors.genai.conventions import CONVENTIONS
from spanbridge.processors.genai.identity_keys import IDENTITY_KEYS
from spanbridge.processors.genai.usage import Usage, is_zero
from spanbridge.processors.genai.values import is_empty
from spanbridge.processors.genai.view import Layout, SpanView

Facts: TypeAlias = tuple[tuple[str, Read], ...]
"""The `mlflow.*` attributes to set, each with its reader, in the order in which they are written."""

_FACTS: tuple[tuple[str, Callable[[Convention], Fact]], ...] = (
    (mlflow.INPUTS, lambda convention: convention.inputs),
    (mlflow.OUTPUTS, lambda convention: convention.outputs),
    (mlflow.USAGE, lambda convention: convention.usage),
    (mlflow.COST, lambda convention: convention.cost),
    (mlflow.MODEL, lambda convention: convention.model),
    (mlflow.PROVIDER, lambda convention: convention.provider),
    (mlflow.TOOLS, lambda convention: convention.tools),
    (mlflow.MESSAGE_FORMAT, lambda convention: convention.message_format),
    (mlflow.SPAN_TYPE, lambda convention: convention.span_type),
)
"""The type comes last, where tag_schema, which asks every span for it and searches backwards, finds it first."""

_TRACE_KEYS = frozenset((*IDENTITY_KEYS, *mlflow.METADATA_KEYS, mlflow.STATED_NAME, mlflow.CLIENT_REQUEST_ID))

_MAX_REMEMBERED = 2048
_MAX_KEYS = 128
_MAX_CHARACTERS = 8192
"""Spans with more or longer keys are worked out each time, which bounds what the remembered ones can hold."""


@dataclass(frozen=True, slots=True, eq=False)
class Recognised:
    """What holds for all spans that have the same keys and are of the same conventions.

    Attributes:
        conventions: The conventions, best first.
        facts: The `mlflow.*` attributes that may be set, with their readers.
        naming: Those of the conventions that may state the trace's name.
        tagging: Those of the conventions that state tags.
        has_trace_keys: Whether one of the keys says something of the whole trace, whatever the convention.
    """

    conventions: tuple[Convention, ...] = ()
    facts: Facts = ()
    naming: tuple[Convention, ...] = ()
    tagging: tuple[Convention, ...] = ()
    has_trace_keys: bool = False


class _Candidates:
    """The conventions that spans with certain keys may be of, and what was worked out for each choice of them.

    `certain` holds for all of these spans if none of the conventions has an `only_if` to ask.
    """

    __slots__ = ("_conventions", "_overwrite", "_worked_out", "certain", "layout")

    def __init__(self, layout: Layout, conventions: tuple[Convention, ...], overwrite: frozenset[str]) -> None:
        self.layout = layout
        self._conventions = tuple(convention for convention in conventions if convention.recognise(layout))
        self._overwrite = overwrite
        self._worked_out: dict[tuple[Convention, ...], Recognised] = {}
        doubtful = any(convention.only_if is not None for convention in self._conventions)
        self.certain = None if doubtful else self._work_out(self._conventions)

    def recognise(self, view: SpanView) -> Recognised:
        """Return what holds for a span; each `only_if` is asked."""
        accepted = tuple([one for one in self._conventions if one.only_if is None or one.only_if(view)])
        return self._worked_out.get(accepted) or self._work_out(accepted)

    def _work_out(self, conventions: tuple[Convention, ...]) -> Recognised:
        keys = self.layout.keys
        facts = [(key, self._reader(key, get, conventions)) for key, get in _FACTS]
        recognised = self._worked_out[conventions] = Recognised(
            conventions,
            tuple((key, reader) for key, reader in facts if reader is not None),
            tuple(one for one in conventions if any(_may_know(read, keys) for read in readers(one.trace_name))),
            tuple(one for one in conventions if one.tags is not None),
            not keys.isdisjoint(_TRACE_KEYS) or bool(self.layout.under(mlflow.METADATA_PREFIX)),
        )
        return recognised

    def _reader(self, key: str, get: Callable[[Convention], Fact], conventions: tuple[Convention, ...]) -> Read | None:
        """Return the reader of an attribute, or None if it is not to be set or no convention may state it."""
        keys = self.layout.keys
        if key in keys:
            conventions = tuple(one for one in conventions if one.name in self._overwrite)
        asked = tuple(read for one in conventions for read in readers(get(one)) if _may_know(read, keys))
        if len(asked) > 1:
            return partial(_most_telling if key == mlflow.USAGE else stated, asked)
        return asked[0] if asked else None


def _may_know(read: Read, keys: frozenset[str]) -> bool:
    """Return whether a reader may know something of spans with these keys."""
    wanted: Iterable[str] | None = getattr(read, "keys", None)
    return wanted is None or any(key in keys for key in wanted)


def stated(asked: tuple[Read, ...], view: SpanView) -> Any:
    """Return the first of the readers' facts that is not empty, or None."""
    for reader in asked:
        found = reader(view)
        if found is not None and not is_empty(found):
            return found
    return None


def _most_telling(asked: tuple[Read, ...], view: SpanView) -> Usage | None:
    """Return the first usage that is not zero: zeros of one convention must not hide the counts of another."""
    zero: Usage | None = None
    for reader in asked:
        found: Usage | None = reader(view)
        if found is not None and not is_zero(found):
            return found
        zero = zero or found
    return zero


class Recogniser:
    """Recognises spans by the conventions that are on.

    Args:
        config: The processor's configuration.
    """

    def __init__(self, config: GenAiConfig) -> None:
        self.settings = config.settings([convention.name for convention in CONVENTIONS])
        self._on = tuple(convention for convention in CONVENTIONS if convention.name in self.settings)
        self._overwrite = frozenset(name for name, source in self.settings.items() if source.overwrite)
        self._candidates: dict[frozenset[str], _Candidates] = {}

    def recognise(self, span: Span) -> tuple[SpanView, Recognised]:
        """Return a span's view, and what holds for it."""
        attributes = by_key(span.attributes)
        keys = frozenset(attributes)
        candidates = self._candidates.get(keys) or self._find_candidates(keys)
        view = SpanView(span, attributes, candidates.layout)
        return view, candidates.certain or candidates.recognise(view)

    def _find_candidates(self, keys: frozenset[str]) -> _Candidates:
        namespaces = {key.partition(".")[0] for key in keys}
        conventions = tuple(convention for convention in self._on if not namespaces.isdisjoint(convention.namespaces))
        candidates = _Candidates(Layout(keys), conventions, self._overwrite)
        if len(keys) <= _MAX_KEYS and sum(map(len, keys)) <= _MAX_CHARACTERS:
            if len(self._candidates) >= _MAX_REMEMBERED:
                self._candidates.clear()
            self._candidates[keys] = candidates
        return candidates


def event_content(conventions: Sequence[Convention], view: SpanView, events: Sequence[Event]) -> Content:
    """Return inputs and outputs from span events or log records, each of the first convention that states it."""
    inputs = outputs = None
    for convention in conventions:
        found_in, found_out = convention.events(view, events)
        inputs = found_in if is_empty(inputs) else inputs
        outputs = found_out if is_empty(outputs) else outputs
    return inputs, outputs
