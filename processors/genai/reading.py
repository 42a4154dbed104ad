"""Which conventions a span is of, and what they say: the part that the head stage and the trace stage share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.processors.attributes import keys_of, places_of
from spanbridge.processors.genai.config import GenAiConfig
from spanbridge.processors.genai.convention import Content, Convention, Event, Read, decided_by, narrowed, word
from spanbridge.processors.genai.conventions import CONVENTIONS
from spanbridge.processors.genai.trace.identity import IDENTITY_KEYS
from spanbridge.processors.genai.usage import Usage, is_zero
from spanbridge.processors.genai.values import is_empty
from spanbridge.processors.genai.view import Layout, SpanView

SPAN_TYPE = "mlflow.spanType"
INPUTS = "mlflow.spanInputs"
OUTPUTS = "mlflow.spanOutputs"
CONTENT = (INPUTS, OUTPUTS)
USAGE = "mlflow.chat.tokenUsage"
COST = "mlflow.llm.cost"
MODEL = "mlflow.llm.model"
PROVIDER = "mlflow.llm.provider"
TOOLS = "mlflow.chat.tools"
MESSAGE_FORMAT = "mlflow.message.format"

STATED_NAME = "mlflow.traceTag.mlflow.traceName"
METADATA_PREFIX = "mlflow.traceMetadata."
METADATA_KEYS = frozenset({"mlflow.sourceRun", "mlflow.modelId"})
CLIENT_REQUEST_ID = "mlflow.clientRequestId"
_TRACE_KEYS = IDENTITY_KEYS | METADATA_KEYS | {STATED_NAME, CLIENT_REQUEST_ID}

_READERS: tuple[tuple[str, Callable[[Convention], Read]], ...] = (
    (INPUTS, lambda convention: convention.inputs),
    (OUTPUTS, lambda convention: convention.outputs),
    (USAGE, lambda convention: convention.usage),
    (COST, lambda convention: convention.cost),
    (MODEL, lambda convention: convention.model),
    (PROVIDER, lambda convention: convention.provider),
    (TOOLS, lambda convention: convention.tools),
    (MESSAGE_FORMAT, lambda convention: convention.message_format),
    (SPAN_TYPE, lambda convention: convention.span_type),
)
"""In the order of writing: the type comes last, where who asks for it first finds it first (tag_schema)."""

Facts: TypeAlias = tuple[tuple[str, Read], ...]

_MAX_ARRANGEMENTS = 2048
_MAX_KEYS = 128
_MAX_CHARACTERS = 8192
"""Spans with more or longer keys are worked out each time, which bounds what the remembered ones can hold."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What to do with spans of certain keys: their conventions, and the reader of each `mlflow.*` attribute to set.

    `words` are those that are decided by the texts under the keys `spelled` alone, `facts` the others.
    `naming` and `tagging` are the conventions that may state a trace's name, and those that state tags; `tells` is
    whether one of the keys says something of the whole trace whatever the convention.
    """

    conventions: tuple[Convention, ...] = ()
    facts: Facts = ()
    words: Facts = ()
    spelled: tuple[str, ...] = ()
    naming: tuple[Convention, ...] = ()
    tagging: tuple[Convention, ...] = ()
    tells: bool = False


class _Family:
    """The conventions that spans of one layout may be of, and the plan for each outcome of their `only_if`.

    `certain` is the plan when there is no `only_if` to ask.
    """

    __slots__ = ("_conventions", "_doubtful", "_overwrite", "_plans", "certain", "layout")

    def __init__(self, layout: Layout, conventions: tuple[Convention, ...], overwrite: frozenset[str]) -> None:
        self.layout = layout
        self._conventions = tuple(convention for convention in conventions if convention.recognise(layout))
        self._overwrite = overwrite
        self._plans: dict[tuple[Convention, ...], Plan] = {}
        self._doubtful = tuple(convention for convention in self._conventions if convention.only_if)
        self.certain = None if self._doubtful else self._plan(self._conventions)

    def plan(self, view: SpanView) -> Plan:
        """The plan for a span, of which each `only_if` is asked."""
        accepted = tuple([one for one in self._conventions if one.only_if is None or one.only_if(view)])
        if accepted not in self._plans:
            self._plans[accepted] = self._plan(accepted)
        return self._plans[accepted]

    def _plan(self, conventions: tuple[Convention, ...]) -> Plan:
        keys = self.layout.keys
        readers = [(key, self._reader(key, get, conventions)) for key, get in _READERS]
        facts = [(key, reader) for key, reader in readers if reader is not None]
        words = [fact for fact in facts if fact[0] not in keys and decided_by(fact[1]) is not None]
        return Plan(
            conventions,
            tuple(fact for fact in facts if fact not in words),
            tuple(words),
            tuple(dict.fromkeys(key for _, reader in words for key in decided_by(reader) or ())),
            tuple(one for one in conventions if narrowed(one.trace_name, keys) is not None),
            tuple(one for one in conventions if one.tags is not None),
            not keys.isdisjoint(_TRACE_KEYS) or bool(self.layout.under(METADATA_PREFIX)),
        )

    def _reader(self, key: str, get: Callable[[Convention], Read], conventions: tuple[Convention, ...]) -> Read | None:
        readers = [
            reader
            for convention in conventions
            if (key not in self.layout.keys or convention.name in self._overwrite)
            and (reader := narrowed(get(convention), self.layout.keys)) is not None
        ]
        if len(readers) > 1:
            return _most_telling(readers) if key == USAGE else _first_stated(tuple(readers))
        return readers[0] if readers else None


def _first_stated(readers: tuple[Read, ...]) -> Read:
    keys = [decided_by(reader) for reader in readers]
    read = partial(stated, readers)
    return read if None in keys else word(read, *dict.fromkeys(key for deciding in keys for key in deciding or ()))


def _most_telling(readers: Sequence[Read]) -> Read:
    """The first usage that counts anything: zeros of one convention must not hide the counts of another."""

    def read(view: SpanView) -> Usage | None:
        zero: Usage | None = None
        for reader in readers:
            found: Usage | None = reader(view)
            if found is not None and not is_zero(found):
                return found
            zero = zero or found
        return zero

    return read


_Arrangement: TypeAlias = tuple[_Family, dict[str, int]]
"""The family of keys that come in a certain order, and where each of them stands."""


class Reading:
    """The conventions that are on, prepared so that a span of none costs little: only its keys are looked at."""

    def __init__(self, config: GenAiConfig) -> None:
        self.settings = config.settings([convention.name for convention in CONVENTIONS])
        self._on = tuple(convention for convention in CONVENTIONS if convention.name in self.settings)
        self._overwrite = frozenset(name for name, source in self.settings.items() if source.overwrite)
        self._families: dict[frozenset[str], _Family] = {}
        self._arrangements: dict[tuple[str, ...], _Arrangement] = {}

    def read(self, span: Span) -> tuple[SpanView, Plan]:
        """A span, ready to be read, and what to do with it."""
        attributes = span.attributes[:]  # a slice of a protobuf field is read faster than the field itself
        keys = keys_of(attributes)
        family, places = self._arrangements.get(keys) or self._arrangement(keys)
        view = SpanView(span, attributes, places, family.layout)
        return view, family.certain or family.plan(view)

    def _arrangement(self, in_order: tuple[str, ...]) -> _Arrangement:
        """Worked out once for the same keys in the same order, and what does not depend on that once for the keys."""
        keys = frozenset(in_order)
        arrangement = self._families.get(keys) or self._family_of(keys), places_of(in_order)
        if len(in_order) <= _MAX_KEYS and sum(map(len, in_order)) <= _MAX_CHARACTERS:
            if len(self._arrangements) >= _MAX_ARRANGEMENTS:
                self._families.clear()
                self._arrangements.clear()
            self._arrangements[in_order] = arrangement
            self._families[keys] = arrangement[0]
        return arrangement

    def _family_of(self, keys: frozenset[str]) -> _Family:
        namespaces = {key.partition(".")[0] for key in keys}
        candidates = tuple(convention for convention in self._on if not namespaces.isdisjoint(convention.namespaces))
        return _Family(Layout(keys), candidates, self._overwrite)


def stated(readers: tuple[Read, ...], view: SpanView) -> Any:
    """What the first of the readers that knows says, or None."""
    for reader in readers:
        found = reader(view)
        if found is not None and not is_empty(found):
            return found
    return None


def event_content(plan: Plan, view: SpanView, events: Sequence[Event]) -> Content:
    """Inputs and outputs out of span events or log records, by the first convention that knows them."""
    inputs = outputs = None
    for convention in plan.conventions:
        found_in, found_out = convention.events(view, events)
        inputs = found_in if is_empty(inputs) else inputs
        outputs = found_out if is_empty(outputs) else outputs
    return inputs, outputs
