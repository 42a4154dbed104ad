"""What a kept trace says of its sampling, so that the totals that were sent can be told from what was kept.

`sampling.weight` is the adjusted count of OpenTelemetry's sampling specification: how many traces this one stands for.
"""

from __future__ import annotations

from spanbridge.processors.trace_state import KEEP_ALL, TraceState, TraceStateError, adjusted_count
from spanbridge.processors.types import Trace, spans

POLICY_TAG = "sampling.policy"
WEIGHT_TAG = "sampling.weight"


def write_weight(trace: Trace, policy: str, weight: float) -> None:
    """Tag a trace with what kept it and how many traces it stands for."""
    trace.tags[POLICY_TAG] = policy
    trace.tags[WEIGHT_TAG] = f"{weight:.12g}"


def arriving_count(trace: Trace) -> float:
    """How many traces this one stands for as it arrives: the adjusted count of its least threshold.

    Sampling by one randomness keeps some span of a trace exactly where it is not below the least threshold that any of
    them was held against; spans that say nothing were not sampled, or by a parent that says it.
    """
    texts = {span.trace_state for span in spans(trace.batch)}
    known = [threshold for text in texts if text and (threshold := _threshold(text)) is not None]
    return adjusted_count(min(known, default=KEEP_ALL))


def _threshold(text: str) -> int | None:
    try:
        return TraceState.parse(text).threshold
    except TraceStateError:
        return None
