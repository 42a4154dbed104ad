"""`probabilistic_sampler`: keeps a share of the spans at the head stage, by trace id, so that traces stay whole.

Decisions are those of contrib's probabilisticsamplerprocessor (sampler_mode.go, tracesprocessor.go) for the same trace
id, tracestate and `sampling.priority`. The tracestate of what is kept says how it was sampled: the adjusted count of a
span is `adjusted_count` of its `th`.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Mapping, MutableSequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Protocol, Self, TypeAlias

from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span
from pydantic import Field, model_validator

from spanbridge.processors.attributes import find
from spanbridge.processors.sampling_weight import WEIGHT_TAG, arriving_count, write_weight
from spanbridge.processors.settings import ConfigModel
from spanbridge.processors.stages import BuildContext, Stages, spans_only
from spanbridge.processors.trace_state import (
    KEEP_ALL,
    KEEP_NONE,
    TraceState,
    TraceStateError,
    probability_to_threshold,
    threshold_to_probability,
    trace_id_randomness,
)
from spanbridge.processors.types import Batch, Trace

Mode: TypeAlias = Literal["hash_seed", "equalizing", "proportional"]

OnDecision: TypeAlias = Callable[[str, bool, int], None]
"""Told once a batch: the policy (where the randomness came from), kept or not, and how many spans."""

_JOINED: Final = "log records are joined to their spans here and share their fate; they are not sampled on their own."
_PRIORITY: Final = "sampling.priority"
_PRIORITY_BYTES: Final = _PRIORITY.encode()
_BUCKET_BITS: Final = 14
_BUCKETS: Final = 1 << _BUCKET_BITS


class ProbabilisticSamplerConfig(ConfigModel):
    """The Collector's keys and defaults. The last three keys have no effect; they are read so that its files load."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "attribute_source": _JOINED,
        "from_attribute": _JOINED,
        "sampling_priority": _JOINED,
    }

    sampling_percentage: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="The share of traces to keep in percent; 100 or more keeps all.",
    )
    mode: Literal["hash_seed", "equalizing", "proportional", ""] = Field(
        default="",
        description="`hash_seed` hashes the trace id; `proportional` keeps the percentage of what arrives; "
        "`equalizing` brings what was sampled before to the same percentage. "
        "Default: hash_seed if a hash_seed is given, else proportional.",
    )
    hash_seed: int = Field(
        default=0,
        ge=0,
        lt=1 << 32,
        description="The seed of the hash; samplers with the same seed keep the same traces. For mode hash_seed.",
    )
    fail_closed: bool = Field(
        default=True, description="Drop spans whose randomness or threshold can't be told; false keeps them."
    )
    sampling_precision: int = Field(
        default=4,
        ge=1,
        le=14,
        description="Most hexadecimal digits of the threshold in the tracestate.",
    )
    attribute_source: Literal["traceID", "record"] = Field(
        default="traceID", description="For log records in the Collector; no effect here."
    )
    from_attribute: str = Field(default="", description="For log records in the Collector; no effect here.")
    sampling_priority: str = Field(default="", description="For log records in the Collector; no effect here.")

    @model_validator(mode="after")
    def _expressible(self) -> Self:
        if 0 < self.sampling_percentage / 100 < 1 / KEEP_NONE:
            raise ValueError("sampling_percentage is below what 56 bits express; write 0 to drop everything")
        return self

    @property
    def effective_mode(self) -> Mode:
        """The mode, with the default in the place of an empty one."""
        return self.mode or ("hash_seed" if self.hash_seed else "proportional")


_Key: TypeAlias = bytes | tuple[bytes, str, bool | None]


@dataclass(frozen=True, slots=True, eq=False)
class _Decision:
    """The decision on the spans of one trace id and tracestate; `trace_state` is None where it stays as it is."""

    kept: bool
    policy: str
    trace_state: str | None = None


@dataclass(frozen=True, slots=True)
class _Draw:
    """The randomness of a span and its source; `value` is None where it can't be told or contradicts `th`.

    `state` is None where the tracestate must not be touched.
    """

    policy: str
    value: int | None
    state: TraceState | None


class ProbabilisticSampler:
    """The processor: removes spans that are not sampled from a batch, in place.

    A span whose randomness or threshold cannot be read is kept or dropped as `fail_closed` says; nothing is raised.

    Args:
        config: The processor's configuration.
        on_decision: Is told of each policy and decision, once a batch.
    """

    def __init__(self, config: ProbabilisticSamplerConfig, on_decision: OnDecision | None = None) -> None:
        # float32 as in the Collector: 0.1 % is 0.10000000149 % there, and the same trace ids must be kept.
        percentage = _float32(min(config.sampling_percentage, 100.0))
        self._fail_closed = config.fail_closed
        self._precision = config.sampling_precision
        self._on_decision = on_decision
        self._ratio = max(percentage / 100, 1 / KEEP_NONE)
        self._source, self._target = self._mode(config.effective_mode, percentage, config.hash_seed)
        self._plain_target = self._target(TraceState())
        self._plain_drop = _Decision(kept=False, policy=self._source.policy)

    def __call__(self, batch: Batch) -> Batch:
        """Remove the spans that are not sampled, and the scopes and resources left without any; return the batch."""
        seen: dict[_Key, _Decision] = {}
        decisions: list[_Decision] = []
        for resource_spans in batch.resource_spans:
            for scope_spans in resource_spans.scope_spans:
                decisions += self._sample(scope_spans, seen)
            _take_away(resource_spans.scope_spans, [not scope.spans for scope in resource_spans.scope_spans])
        _take_away(batch.resource_spans, [not resource.scope_spans for resource in batch.resource_spans])
        if self._on_decision is not None:
            for decision, count in Counter(decisions).items():
                self._on_decision(decision.policy, decision.kept, count)
        return batch

    def _sample(self, scope_spans: ScopeSpans, seen: dict[_Key, _Decision]) -> list[_Decision]:
        # Looking for the key in the wire form costs a third of walking over every attribute of every span.
        prioritized = _PRIORITY_BYTES in scope_spans.SerializeToString()
        decisions = []
        for span in scope_spans.spans:
            trace_id, text = span.trace_id, span.trace_state
            forced = _priority(span) if prioritized else None
            key: _Key = (trace_id, text, forced) if text or prioritized else trace_id
            decision = seen.get(key)
            if decision is None:
                decision = seen[key] = self._decide(trace_id, text, forced)
            decisions.append(decision)
            if decision.trace_state is not None:
                span.trace_state = decision.trace_state
        _take_away(scope_spans.spans, [not decision.kept for decision in decisions])
        return decisions

    def _decide(self, trace_id: bytes, text: str, forced: bool | None) -> _Decision:
        if forced is False:
            return _Decision(kept=False, policy="sampling_priority")
        if not text and not forced and _valid(trace_id) and self._source.randomness(trace_id) < self._plain_target:
            return self._plain_drop  # by far the most frequent way out
        draw = self._source.draw(trace_id, text)
        policy = "sampling_priority" if forced else draw.policy
        if draw.value is None or draw.state is None:
            return self._decide_blindly(policy, draw.state, forced=bool(forced))
        threshold = KEEP_ALL if forced else self._target(draw.state)
        if draw.value < threshold:
            return _Decision(kept=False, policy=policy)
        draw.state.raise_threshold(threshold)
        return _Decision(kept=True, policy=policy, trace_state=str(draw.state))

    def _decide_blindly(self, policy: str, state: TraceState | None, *, forced: bool) -> _Decision:
        if not forced and self._fail_closed:
            return _Decision(kept=False, policy=policy)
        if state is None:
            return _Decision(kept=True, policy=policy)
        state.erase_threshold()
        return _Decision(kept=True, policy=policy, trace_state=str(state))

    def _mode(self, mode: Mode, percentage: float, seed: int) -> tuple[_Source, Callable[[TraceState], int]]:
        """Return where a mode's randomness comes from, and the threshold it is compared with."""
        buckets = int(_float32(percentage * _float32(_BUCKETS / 100)))
        if percentage == 0 or (mode == "hash_seed" and buckets == 0):
            return _Never(), lambda _: KEEP_NONE
        if mode == "hash_seed":
            threshold = (_BUCKETS - buckets) << (56 - _BUCKET_BITS)
            return _HashSeed(seed), lambda _: threshold
        if mode == "proportional":
            return _Consistent(), self._proportional
        lowest = probability_to_threshold(self._ratio, self._precision)
        return _Consistent(), lambda state: max(lowest, state.threshold or KEEP_ALL)

    def _proportional(self, state: TraceState) -> int:
        arriving = threshold_to_probability(state.threshold or KEEP_ALL)
        return probability_to_threshold(arriving * self._ratio, self._precision)


class _Source(Protocol):
    """A source of randomness, named as contrib's metric names it."""

    policy: str

    def randomness(self, trace_id: bytes) -> int:
        """Return the 56 bits of a valid trace id that came without a tracestate."""

    def draw(self, trace_id: bytes, text: str) -> _Draw:
        """Return the randomness of any span, and its tracestate."""


class _Never:
    """The source at 0 %, of which nothing is drawn."""

    policy = "sampling_priority"

    def randomness(self, _trace_id: bytes) -> int:
        """Return what no threshold keeps."""
        return KEEP_NONE - 1

    def draw(self, trace_id: bytes, text: str) -> _Draw:
        """Return a draw that is never kept."""
        state = _parsed(text)
        return _Draw(self.policy, None if state is None else self.randomness(trace_id), state)


class _Consistent:
    """Randomness as the OpenTelemetry specification has it: `rv`, else the trace id."""

    policy = "trace_id_w3c"
    randomness = staticmethod(trace_id_randomness)

    def draw(self, trace_id: bytes, text: str) -> _Draw:
        """Return `rv`, else the trace id's bits; no value where neither is valid or the value contradicts `th`."""
        state = _parsed(text)
        if state is None:
            return _Draw("missing_randomness", None, None)
        explicit = state.randomness
        if explicit is None and not _valid(trace_id):
            return _Draw("missing_randomness", None, state)
        value = trace_id_randomness(trace_id) if explicit is None else explicit
        policy = self.policy if explicit is None else "sampling_randomness"
        return _Draw(policy, value if value >= (state.threshold or KEEP_ALL) else None, state)


class _HashSeed:
    """FNV-1a of seed and trace id; refused where `rv` or `th` is already in use.

    The randomness is written down as `rv`, so that samplers further on decide consistently with this one.
    """

    policy = "trace_id_hash"

    def __init__(self, seed: int) -> None:
        self._state = _fnv1a_32(seed.to_bytes(4, "little"))

    def randomness(self, trace_id: bytes) -> int:
        """Return the hash spread over 56 bits."""
        return _spread(_fnv1a_32(trace_id, self._state))

    def draw(self, trace_id: bytes, text: str) -> _Draw:
        """Return the hash, and write it down as `rv`; no value where the tracestate has `rv` or `th` already."""
        state = _parsed(text)
        if not _valid(trace_id):
            return _Draw("missing_randomness", None, None)
        if state is None or state.rv or state.th:
            return _Draw(self.policy, None, None)
        state.randomness = value = self.randomness(trace_id)
        return _Draw(self.policy, value, state)


def _spread(hashed: int) -> int:
    """Spread a 32-bit hash over 56 bits, its 14 deciding bits on top and turned round: a low bucket is kept first."""
    bucket = hashed & (_BUCKETS - 1)
    rest = hashed >> (32 - _BUCKET_BITS)
    return (_BUCKETS - 1 - bucket) << 42 | (rest ^ rest << 10) << 14 | bucket


def _fnv1a_32(data: bytes, state: int = 0x811C9DC5) -> int:
    for byte in data:
        state = (state ^ byte) * 0x01000193 & 0xFFFFFFFF
    return state


def _valid(trace_id: bytes) -> bool:
    return bool(trace_id.strip(b"\0"))


def _parsed(text: str) -> TraceState | None:
    try:
        return TraceState.parse(text)
    except TraceStateError:
        return None


def _priority(span: Span) -> bool | None:
    """Return what `sampling.priority` asks for: True keep, False drop, None nothing (absent, negative, no number)."""
    value = find(span.attributes, _PRIORITY)
    kind = value.WhichOneof("value") if value is not None else None
    if kind not in ("int_value", "double_value", "string_value"):
        return None
    try:
        number = float(getattr(value, kind))
    except ValueError:
        return None
    return number > 0 if number >= 0 else None


def _take_away(items: MutableSequence[Any], dropped: list[bool]) -> None:
    """Delete the items marked in `dropped`.

    Sorting moves pointers and is linear in the worst case; deleting one by one is quadratic, refilling copies spans.
    """
    if True not in dropped:
        return
    if False in dropped:
        marks = iter(dropped)
        items.sort(key=lambda _: next(marks))  # type: ignore[attr-defined]
    del items[dropped.count(False) :]


def _float32(number: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", number))[0])


def build(config: ProbabilisticSamplerConfig, context: BuildContext) -> Stages:
    """Return the stages of a section: spans are drawn before the disk, kept traces are given their weight."""
    name = "otelcol_processor_probabilistic_sampler_count_traces_sampled"
    sampled = context.metrics.counter(name, "Spans by decision.", "policy", "sampled")

    def count(policy: str, kept: bool, spans: int) -> None:
        sampled.labels(policy, str(kept).lower()).inc(spans)

    def weigh(trace: Trace) -> Trace:
        if WEIGHT_TAG not in trace.tags:
            write_weight(trace, context.component_id, arriving_count(trace))
        return trace

    return Stages(head=spans_only(ProbabilisticSampler(config, count)), trace=weigh)
