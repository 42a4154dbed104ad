"""Which conventions a span is of, and what they say: the part that the head stage and the trace stage share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from processors.genai.config import GenAiConfig
from processors.genai.convention import Content, Convention, Event, Narrowing, Read, nothing
from processors.genai.conventions import CONVENTIONS
from processors.genai.usage import Usage, is_zero
from processors.genai.values import is_empty
from processors.genai.view import Layout, SpanView

SPAN_TYPE = "mlflow.spanType"
INPUTS = "mlflow.spanInputs"
OUTPUTS = "mlflow.spanOutputs"
USAGE = "mlflow.chat.tokenUsage"
COST = "mlflow.llm.cost"
MODEL = "mlflow.llm.model"
PROVIDER = "mlflow.llm.provider"
TOOLS = "mlflow.chat.tools"
MESSAGE_FORMAT = "mlflow.message.format"

_READERS: tuple[tuple[str, Callable[[Convention], Read]], ...] = (
    (SPAN_TYPE, lambda convention: convention.span_type),
    (INPUTS, lambda convention: convention.inputs),
    (OUTPUTS, lambda convention: convention.outputs),
    (USAGE, lambda convention: convention.usage),
    (COST, lambda convention: convention.cost),
    (MODEL, lambda convention: convention.model),
    (PROVIDER, lambda convention: convention.provider),
    (TOOLS, lambda convention: convention.tools),
    (MESSAGE_FORMAT, lambda convention: convention.message_format),
)

_MAX_LAYOUTS = 2048
_MAX_KEYS = 128
"""Spans with more keys are worked out each time, which bounds what the remembered ones can hold."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with spans of certain keys: their conventions, and the readers of each `mlflow.*` attribute to set.

    `naming` and `tagging` are the conventions that may state a trace's name, and those that state tags.
    """

    conventions: tuple[Convention, ...] = ()
    facts: tuple[tuple[str, tuple[Read, ...]], ...] = ()
    naming: tuple[Convention, ...] = ()
    tagging: tuple[Convention, ...] = ()


NO_PLAN = Plan()


class _Family:
    """The conventions that spans of one layout may be of, and the plan for each outcome of their `only_if`."""

    __slots__ = ("_conventions", "_keys", "_overwrite", "_plans", "doubtful")

    def __init__(self, layout: Layout, conventions: tuple[Convention, ...], overwrite: frozenset[str]) -> None:
        self._keys = layout.keys
        self._conventions = tuple(convention for convention in conventions if convention.recognise(layout))
        self._overwrite = overwrite
        self._plans: dict[tuple[Convention, ...], Plan] = {}
        self.doubtful = tuple(convention for convention in self._conventions if convention.only_if)

    def plan(self, refused: tuple[Convention, ...]) -> Plan:
        """The plan for spans that those of the doubtful conventions are not of."""
        if refused not in self._plans:
            accepted = tuple(convention for convention in self._conventions if convention not in refused)
            facts = tuple(fact for key, get in _READERS if (fact := self._fact(key, get, accepted))[1])
            naming = tuple(one for one in accepted if _narrowed(one.trace_name, self._keys) is not None)
            tagging = tuple(one for one in accepted if one.tags is not None)
            self._plans[refused] = Plan(accepted, facts, naming, tagging) if accepted else NO_PLAN
        return self._plans[refused]

    def _fact(
        self, key: str, get: Callable[[Convention], Read], conventions: tuple[Convention, ...]
    ) -> tuple[str, tuple[Read, ...]]:
        readers = [
            reader
            for convention in conventions
            if (key not in self._keys or convention.name in self._overwrite)
            and (reader := _narrowed(get(convention), self._keys)) is not None
        ]
        return key, (_most_telling(readers),) if key == USAGE and len(readers) > 1 else tuple(readers)


def _narrowed(reader: Read, keys: frozenset[str]) -> Read | None:
    if reader is nothing:
        return None
    return reader.narrowed(keys) if isinstance(reader, Narrowing) else reader


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


class Reading:
    """The conventions that are on, prepared so that a span of none costs little: only its keys are looked at."""

    def __init__(self, config: GenAiConfig) -> None:
        self.settings = config.settings([convention.name for convention in CONVENTIONS])
        self._on = tuple(convention for convention in CONVENTIONS if convention.name in self.settings)
        self._overwrite = frozenset(name for name, source in self.settings.items() if source.overwrite)
        self._layout = lru_cache(_MAX_LAYOUTS)(Layout)
        self._family = lru_cache(_MAX_LAYOUTS)(self._family_of)

    def view(self, span: Span) -> SpanView:
        """A span, ready to be read."""
        return SpanView(span, self._layout if len(span.attributes) <= _MAX_KEYS else Layout)

    def plan(self, view: SpanView) -> Plan:
        """What to do with a span; NO_PLAN if it is of no convention."""
        layout = view.layout
        family = self._family(layout) if len(layout.keys) <= _MAX_KEYS else self._family_of(layout)
        if not family.doubtful:
            return family.plan(())
        return family.plan(tuple(one for one in family.doubtful if one.only_if and not one.only_if(view)))

    def _family_of(self, layout: Layout) -> _Family:
        namespaces = {key.partition(".")[0] for key in layout.keys}
        candidates = tuple(convention for convention in self._on if not namespaces.isdisjoint(convention.namespaces))
        return _Family(layout, candidates, self._overwrite)


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
