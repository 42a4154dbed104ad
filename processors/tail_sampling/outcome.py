"""What policies say of a trace, and the probability with which their answers together keep it.

Some answers hang on a draw (the hash of a trace id or session id). The weight of a kept trace is 1 / P(kept), P taken
over the draws with everything else about the trace fixed (the Horvitz-Thompson estimator): then the weights of kept
traces add up, in expectation, to the number of traces. It must be the probability of the whole decision: where a 10 %
and a 50 % policy have independent draws, a trace that only the first one drew was still kept with 55 %, not 10 %.

So an answer that hangs on a draw is a `Chance`: what happens below a ratio and what happens above. Combinations of
policies are combinations of these trees, and `probability` measures the part of all draws that keeps the trace.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from spanbridge.processors.tail_sampling.limits import Limit


class Vote(Enum):
    """The answer of a policy: the Collector's five, and ADMITTED and LIMITED for a limit that samples or does not."""

    SAMPLED = "sampled"
    NOT_SAMPLED = "not_sampled"
    INVERT_SAMPLED = "invert_sampled"
    INVERT_NOT_SAMPLED = "invert_not_sampled"
    DROPPED = "dropped"
    ADMITTED = "admitted"
    LIMITED = "limited"


@dataclass(frozen=True, slots=True)
class Ballot:
    """An answer that depends on no draw; `limit` is the one that admitted or limited."""

    vote: Vote
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class Chance:
    """An answer that depends on a draw from [0, 1).

    Attributes:
        source: The name of the draw: those of one source are the same draw, those of different sources are independent.
        ratio: The bound that the draw is compared with.
        randomness: The draw in the 56-bit form of `rv`, which is high where the draw is low.
        hit: Whether the draw is below the ratio.
        below: The answer if it is.
        above: The answer if it is not.
    """

    source: str
    ratio: float
    randomness: int
    hit: bool
    below: Outcome
    above: Outcome


Outcome: TypeAlias = Ballot | Chance

SAMPLED: Final = Ballot(Vote.SAMPLED)
NOT_SAMPLED: Final = Ballot(Vote.NOT_SAMPLED)
INVERT_SAMPLED: Final = Ballot(Vote.INVERT_SAMPLED)
INVERT_NOT_SAMPLED: Final = Ballot(Vote.INVERT_NOT_SAMPLED)
DROPPED: Final = Ballot(Vote.DROPPED)

POSITIVE: Final = frozenset({Vote.SAMPLED, Vote.INVERT_SAMPLED, Vote.ADMITTED})
"""Votes that count as sampled inside `and`, `drop` and `composite`."""

_MATCHES: Final = frozenset({Vote.SAMPLED, Vote.ADMITTED})
_COUNTED: Final = frozenset({Vote.SAMPLED, Vote.ADMITTED, Vote.LIMITED})

_Intervals: TypeAlias = Mapping[str, tuple[float, float]]


def actual(outcome: Outcome) -> Ballot:
    """Return the answer that the draws gave."""
    while isinstance(outcome, Chance):
        outcome = outcome.below if outcome.hit else outcome.above
    return outcome


def bind(outcome: Outcome, then: Callable[[Ballot, bool], Outcome], *, live: bool) -> Outcome:
    """Return an outcome in which every answer has been replaced by what follows from it.

    Args:
        outcome: The outcome to go on from.
        then: Returns what follows from an answer; the flag says whether that is the answer the draws gave.
        live: Whether the outcome itself is what the draws before it gave.
    """
    if isinstance(outcome, Ballot):
        return then(outcome, live)
    below = bind(outcome.below, then, live=live and outcome.hit)
    above = bind(outcome.above, then, live=live and not outcome.hit)
    if below == above:
        return below
    return Chance(outcome.source, outcome.ratio, outcome.randomness, outcome.hit, below, above)


def concluded(votes: Collection[Vote]) -> Vote:
    """Return the decision over all policies' votes: SAMPLED, ADMITTED, LIMITED, NOT_SAMPLED or DROPPED.

    The order is that of contrib's makeDecision: drop, inverted not-sample, sample, inverted sample unless some policy
    said not-sample. LIMITED is a not-sample that would have been a sample but for a limit.
    """
    if Vote.DROPPED in votes:
        return Vote.DROPPED
    if Vote.INVERT_NOT_SAMPLED in votes:
        return Vote.NOT_SAMPLED
    if Vote.SAMPLED in votes:
        return Vote.SAMPLED
    if Vote.ADMITTED in votes:
        return Vote.ADMITTED
    if Vote.INVERT_SAMPLED in votes and Vote.NOT_SAMPLED not in votes and Vote.LIMITED not in votes:
        return Vote.SAMPLED
    return Vote.LIMITED if Vote.LIMITED in votes else Vote.NOT_SAMPLED


def probability(
    outcomes: Sequence[Outcome], intervals: _Intervals | None = None, *, first_match: bool = False
) -> float:
    """Return the share of all draws in which a trace is kept, or would be but for a limit.

    Args:
        outcomes: The policies' outcomes, in order.
        intervals: What is known of draws, by source: an interval in which the draw lies.
        first_match: Whether policies after the first that samples do not count.
    """
    if first_match:
        return _measure_in_order(outcomes, frozenset(), intervals or {})
    certain = frozenset(outcome.vote for outcome in outcomes if isinstance(outcome, Ballot))
    chances = [outcome for outcome in outcomes if isinstance(outcome, Chance)]
    return _measure(chances, certain, intervals or {}) if chances else _kept(certain)


def _kept(votes: frozenset[Vote]) -> float:
    return 1.0 if concluded(votes) in _COUNTED else 0.0


def _measure(pending: Sequence[Outcome], votes: frozenset[Vote], intervals: _Intervals) -> float:
    if not pending or (_COUNTED & votes and not _may_drop(pending)):
        return _kept(votes)
    first, rest = pending[0], pending[1:]
    if isinstance(first, Ballot):
        return _measure(rest, votes | {first.vote}, intervals)
    return sum(
        share * _measure([branch, *rest], votes, narrowed) for share, branch, narrowed in _branches(first, intervals)
    )


def _measure_in_order(pending: Sequence[Outcome], votes: frozenset[Vote], intervals: _Intervals) -> float:
    if not pending or votes & _MATCHES:
        return _kept(votes)
    first, rest = pending[0], pending[1:]
    if isinstance(first, Ballot):
        return _measure_in_order(rest, votes | {first.vote}, intervals)
    return sum(
        share * _measure_in_order([branch, *rest], votes, narrowed)
        for share, branch, narrowed in _branches(first, intervals)
    )


def _branches(chance: Chance, intervals: _Intervals) -> list[tuple[float, Outcome, _Intervals]]:
    """Return what may come of a draw that lies within an interval, and how much of the interval that is."""
    source, ratio = chance.source, chance.ratio
    low, high = intervals.get(source, (0.0, 1.0))
    if ratio >= high:
        return [(1.0, chance.below, intervals)]
    if ratio <= low:
        return [(1.0, chance.above, intervals)]
    share = (ratio - low) / (high - low)
    return [
        (share, chance.below, {**intervals, source: (low, ratio)}),
        (1 - share, chance.above, {**intervals, source: (ratio, high)}),
    ]


def _may_drop(outcomes: Sequence[Outcome]) -> bool:
    return any(_leads_to(outcome, Vote.DROPPED) for outcome in outcomes)


def _leads_to(outcome: Outcome, vote: Vote) -> bool:
    if isinstance(outcome, Ballot):
        return outcome.vote is vote
    return _leads_to(outcome.below, vote) or _leads_to(outcome.above, vote)


def sources(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return the draws that outcomes depend on, by source, in the 56-bit form of `rv`."""
    found: dict[str, int] = {}
    for outcome in outcomes:
        if isinstance(outcome, Chance):
            found[outcome.source] = outcome.randomness
            found.update(sources((outcome.below, outcome.above)))
    return found
