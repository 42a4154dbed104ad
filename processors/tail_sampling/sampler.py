"""The sampler: which assembled traces are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from spanbridge.processors.sampling_weight import arriving_count
from spanbridge.processors.tail_sampling.config import TailSamplingConfig
from spanbridge.processors.tail_sampling.decision import Decision
from spanbridge.processors.tail_sampling.outcome import (
    POSITIVE,
    Ballot,
    Outcome,
    Vote,
    actual,
    concluded,
    probability,
    sources,
)
from spanbridge.processors.tail_sampling.policies.build import build, keys, only_gains
from spanbridge.processors.tail_sampling.policies.limiting import Clock
from spanbridge.processors.tail_sampling.policies.policy import Policy, PolicyError
from spanbridge.processors.tail_sampling.view import View
from spanbridge.processors.trace_state import KEEP_ALL, KEEP_NONE
from spanbridge.processors.types import Trace

OnPolicy: TypeAlias = Callable[[str, str, int], None]
"""Told of each answer that counts: the policy, sampled | not_sampled | dropped | error, and the trace's spans."""

_LEAST_CHANCE: Final = 2.0**-64
_LABELS: Final = {
    Vote.SAMPLED: "sampled",
    Vote.INVERT_SAMPLED: "sampled",
    Vote.ADMITTED: "sampled",
    Vote.NOT_SAMPLED: "not_sampled",
    Vote.INVERT_NOT_SAMPLED: "not_sampled",
    Vote.LIMITED: "not_sampled",
    Vote.DROPPED: "dropped",
}


@dataclass(frozen=True, slots=True)
class _Named:
    """A policy of the configuration; `early` says that its sampled or dropped vote stands whatever spans follow."""

    name: str
    policy: Policy
    drops: bool
    early: bool


@dataclass(frozen=True, slots=True)
class _Answer:
    """The answer of a policy; `counted` is False where it was only asked for the sake of the weight."""

    name: str
    outcome: Outcome
    ballot: Ballot
    counted: bool


class TailSampler:
    """The sampler: asks the policies about a trace. Not thread-safe, as limits count in the order of the calls.

    Args:
        config: The processor's configuration.
        now: Returns the time in seconds. Limits go by it, and a composite's second is a full second of it.
        on_policy: Is told of each answer that counts.
    """

    def __init__(self, config: TailSamplingConfig, now: Clock, on_policy: OnPolicy | None = None) -> None:
        named = [
            _Named(policy.name, build(policy, now), drops=policy.type == "drop", early=only_gains(policy))
            for policy in config.policies
        ]
        # Drop policies first, as in contrib: their answer ends the matter.
        self._policies = sorted(named, key=lambda policy: not policy.drops)
        self._keys = frozenset[str]().union(*(keys(policy) for policy in config.policies))
        self._first_match = config.sample_on_first_match
        self._may_veto = any(policy.type == "drop" or _inverts(policy) for policy in config.policies)
        self._on_policy = on_policy

    def decide(self, trace: Trace) -> Decision:
        """Return the decision on a trace as it is; nothing is raised. The trace is not changed: see `mark`."""
        view = View(trace, self._keys)
        answers = self._ask(view)
        votes = {answer.ballot.vote for answer in answers if answer.counted}
        conclusion = concluded(votes)
        if conclusion is Vote.DROPPED:
            return Decision("dropped", _first(answers, Vote.DROPPED).name)
        if conclusion is Vote.NOT_SAMPLED:
            return Decision("not_sampled")
        outcomes = [answer.outcome for answer in answers]
        # The draws that were made are among those that keep the trace; the bound is for rounding alone.
        chance = max(probability(outcomes, first_match=self._first_match), _LEAST_CHANCE)
        weight = arriving_count(trace) / chance
        if conclusion is Vote.LIMITED:
            _owe(_first(answers, Vote.LIMITED).ballot, weight)
            return Decision("not_sampled")
        if conclusion is Vote.ADMITTED:
            return _admitted(_first(answers, Vote.ADMITTED), weight, certain=chance >= 1)
        threshold, randomness = self._threshold(outcomes, chance)
        return Decision("sampled", _decisive(answers).name, weight, threshold, randomness)

    def decide_early(self, trace: Trace) -> Decision | None:
        """Return the decision on the spans so far, if no span that may still come can change it; else None.

        For `sampling_strategy: span-ingest`. Only policies whose vote stands are asked, so that nothing is spent. A
        drop or an inverted policy may still veto, so while there is one no trace is sampled early. What a draw decides
        is left to the end as well: only then is it known how probable the decision was.
        """
        view = View(trace, self._keys)
        for named in self._policies:
            if not named.early or (self._may_veto and not named.drops):
                continue
            outcome = self._answer(named, view, live=False)
            if isinstance(outcome, Ballot) and outcome.vote is Vote.DROPPED:
                return Decision("dropped", named.name)
            if isinstance(outcome, Ballot) and outcome.vote is Vote.SAMPLED:
                return Decision("sampled", named.name, arriving_count(trace))
        return None

    def _threshold(self, outcomes: Sequence[Outcome], chance: float) -> tuple[int | None, int]:
        """Return the threshold and randomness that express a decision, if it is that one draw was below `chance`."""
        if chance >= 1:
            return KEEP_ALL, 0
        drawn = sources(outcomes)
        if len(drawn) != 1:
            return None, 0
        ((source, randomness),) = drawn.items()
        if probability(outcomes, {source: (chance, 1.0)}, first_match=self._first_match) > 0:
            return None, 0
        return min(KEEP_NONE - round(chance * KEEP_NONE), randomness), randomness

    def _ask(self, view: View) -> list[_Answer]:
        answers: list[_Answer] = []
        live = True
        for named in self._policies:
            outcome = self._answer(named, view, live=live)
            if outcome is None:
                continue
            ballot = actual(outcome)
            vote = ballot.vote
            answers.append(_Answer(named.name, outcome, ballot, counted=live))
            if live and self._on_policy is not None:
                self._on_policy(named.name, _LABELS[vote], len(view.spans))
            if vote is Vote.DROPPED:
                break
            if self._first_match and live and vote in (Vote.SAMPLED, Vote.ADMITTED):
                if isinstance(outcome, Ballot):
                    break
                live = False  # decided by a draw: what the others would say makes the weight
        return answers

    def _answer(self, named: _Named, view: View, *, live: bool) -> Outcome | None:
        try:
            return named.policy(view, live)
        except PolicyError:
            if live and self._on_policy is not None:
                self._on_policy(named.name, "error", len(view.spans))
            return None


def _inverts(policy: object) -> bool:
    section = getattr(policy, getattr(policy, "type", ""), None)
    return bool(getattr(section, "invert_match", False))


def _first(answers: Sequence[_Answer], vote: Vote) -> _Answer:
    return next(answer for answer in answers if answer.counted and answer.ballot.vote is vote)


def _decisive(answers: Sequence[_Answer]) -> _Answer:
    """Return the answer to name: the first that was certain to sample the trace, else the first by a draw."""
    sampling = [answer for answer in answers if answer.counted and answer.ballot.vote in POSITIVE]
    wanted = [answer for answer in sampling if answer.ballot.vote is Vote.SAMPLED] or sampling
    return next((answer for answer in wanted if isinstance(answer.outcome, Ballot)), wanted[0])


def _owe(ballot: Ballot, weight: float) -> None:
    if ballot.limit is not None:
        ballot.limit.owed += weight


def _admitted(answer: _Answer, weight: float, *, certain: bool) -> Decision:
    """Return the decision on an admitted trace, which also stands for those that the limit turned away before.

    No probability expresses that.
    """
    limit = answer.ballot.limit
    if limit is None or not limit.owed:
        return Decision("sampled", answer.name, weight, KEEP_ALL if certain else None)
    owed, limit.owed = limit.owed, 0.0
    return Decision("sampled", answer.name, weight + owed, None)
