"""A decision on a trace, and the marks it leaves on the trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spanbridge.processors.sampling_weight import write_weight
from spanbridge.processors.trace_state import KEEP_ALL, TraceState, TraceStateError
from spanbridge.processors.types import Trace, spans


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on a trace.

    Attributes:
        outcome: What becomes of the trace.
        policy: The name of the policy that decided; empty where none sampled the trace.
        weight: How many traces a kept one stands for.
        threshold: The rejection threshold of the decision: KEEP_ALL where it was certain, None where no threshold
            expresses its probability.
        randomness: The 56 bits that go with a threshold other than these two.
    """

    outcome: Literal["sampled", "not_sampled", "dropped"]
    policy: str = ""
    weight: float = 0.0
    threshold: int | None = KEEP_ALL
    randomness: int = 0

    @property
    def sampled(self) -> bool:
        """Whether the trace is kept."""
        return self.outcome == "sampled"


def mark(trace: Trace, decision: Decision) -> None:
    """Write on a kept trace how it was sampled: its tags, and the tracestate of its spans.

    The tracestate follows the OpenTelemetry specification, trace/tracestate-probability-sampling.md "General
    requirements". A certain decision changes nothing. One by chance writes `rv` and `th` where no sampler before has
    written either, as `rv` may not change; elsewhere, and where the probability is unknown, it erases `th`.
    """
    write_weight(trace, decision.policy, decision.weight)
    if decision.threshold == KEEP_ALL:
        return
    rewritten: dict[str, str] = {}
    for span in spans(trace.batch):
        text = span.trace_state
        if text not in rewritten:
            rewritten[text] = _rewritten(text, decision)
        if rewritten[text] != text:
            span.trace_state = rewritten[text]


def _rewritten(text: str, decision: Decision) -> str:
    try:
        state = TraceState.parse(text)
    except TraceStateError:
        return text
    if decision.threshold is None or state.rv or state.th:
        state.erase_threshold()
    else:
        state.randomness = decision.randomness
        state.raise_threshold(decision.threshold)
    return str(state)
