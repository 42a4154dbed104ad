"""Which conventions a span is of, and what they say: the part that the head stage and the trace stage share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from processors.genai.config import GenAiConfig, SourceConfig
from processors.genai.convention import Content, Convention, Event, Read, nothing
from processors.genai.conventions import CONVENTIONS
from processors.genai.usage import Usage, is_zero
from processors.genai.values import is_empty
from processors.genai.view import SpanView

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
_MAX_PLANS = 512


@dataclass(frozen=True, slots=True)
class Fact:
    """How one `mlflow.*` attribute is read for spans of certain conventions: the readers, and those that overwrite."""

    key: str
    read: tuple[Read, ...]
    overwrite: tuple[Read, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with spans of certain conventions."""

    conventions: tuple[Convention, ...]
    facts: tuple[Fact, ...]


class Reading:
    """The conventions that are on, prepared so that a span of none costs little: only its keys are looked at."""

    def __init__(self, config: GenAiConfig) -> None:
        self.settings = config.settings([convention.name for convention in CONVENTIONS])
        self._on = tuple(convention for convention in CONVENTIONS if convention.name in self.settings)
        self._namespaces = frozenset[str]().union(*(convention.namespaces for convention in self._on))
        self._candidates = lru_cache(_MAX_PLANS)(self._candidates_of)
        self._plan = lru_cache(_MAX_PLANS)(self._plan_of)

    def plan(self, view: SpanView) -> Plan | None:
        """What to do with a span, or None if it is of no convention."""
        namespaces = self._namespaces & {key.partition(".")[0] for key in view.raw}
        if not namespaces:
            return None
        found = tuple(one for one in self._candidates(namespaces) if one.recognise(view))
        return self._plan(found) if found else None

    def _candidates_of(self, namespaces: frozenset[str]) -> tuple[Convention, ...]:
        return tuple(convention for convention in self._on if not namespaces.isdisjoint(convention.namespaces))

    def _plan_of(self, conventions: tuple[Convention, ...]) -> Plan:
        facts = [_fact(key, get, conventions, self.settings) for key, get in _READERS]
        return Plan(conventions, tuple(fact for fact in facts if fact.read))


def _fact(
    key: str,
    get: Callable[[Convention], Read],
    conventions: tuple[Convention, ...],
    settings: dict[str, SourceConfig],
) -> Fact:
    stated = [(get(one), bool(settings[one.name].overwrite)) for one in conventions if get(one) is not nothing]
    read = tuple(reader for reader, _ in stated)
    overwrite = tuple(reader for reader, replaces in stated if replaces)
    if key == USAGE and len(read) > 1:
        read, overwrite = (_most_telling(read),), (_most_telling(overwrite),) if overwrite else ()
    return Fact(key, read, overwrite)


def _most_telling(readers: tuple[Read, ...]) -> Read:
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
