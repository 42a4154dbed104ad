"""The sampling weight that a kept trace is tagged with, so that totals can be told from what was kept.

`sampling.weight` is the adjusted count of OpenTelemetry's sampling specification: how many traces this one stands for.
"""

from __future__ import annotations

from spanbridge.processors.trace_state import KEEP_ALL, TraceState, TraceStateError, adjusted_count
from spanbridge.processors.types import Trace, spans

POLICY_TAG = "sampling.policy"
WEIGHT_TAG = "sampling.weight"


def write_weight(trace: Trace, policy: str, weight: float) -> None:
    """Tag a trace with the policy that kept it and how many traces it stands for."""
    trace.tags[POLICY_TAG] = policy
    trace.tags[WEIGHT_TAG] = f"{weight:.12g}"


def arriving_count(trace: Trace) -> float:
    """Return how many traces this one stands for as it arrives: the adjusted count of its least threshold.

    A sampler that goes by the trace's one randomness keeps some span of it exactly where the randomness is not below
    the least threshold of any span. Spans without a threshold were not sampled, or by a parent whose span has it.
    """
    texts = {span.trace_state for span in spans(trace.batch)}
    known = [threshold for text in texts if text and (threshold := _threshold(text)) is not None]
    return adjusted_count(min(known, default=KEEP_ALL))


def _threshold(text: str) -> int | None:
    try:
        return TraceState.parse(text).threshold
    except TraceStateError:
        return None
