"""Policies made of policies: and, not, drop, composite.

Source: contrib's internal/sampling/{and,not,drop,composite}.go. Inside them an inverted vote counts as a plain one, for
`not` too, which contrib lets pass unturned. Where a sub-policy hangs on a draw, the others are also asked what they
would have said, so that the probability of the whole is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spanbridge.processors.tail_sampling.limits import SecondBudget
from spanbridge.processors.tail_sampling.outcome import (
    DROPPED,
    NOT_SAMPLED,
    POSITIVE,
    SAMPLED,
    Ballot,
    Outcome,
    Vote,
    bind,
)
from spanbridge.processors.tail_sampling.policies.limiting import Clock, admit
from spanbridge.processors.tail_sampling.policies.policy import Policy
from spanbridge.processors.tail_sampling.view import View


class And:
    """A policy that samples where all sub-policies do; it asks no further than the first that does not."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = policies

    def __call__(self, view: View, live: bool) -> Outcome:
        """Return the outcome for a trace."""
        return self._from(0, SAMPLED, view, live=live)

    def _from(self, index: int, so_far: Ballot, view: View, *, live: bool) -> Outcome:
        if index == len(self._policies):
            return so_far

        def go_on(ballot: Ballot, counts: bool) -> Outcome:
            if ballot.vote is Vote.LIMITED:
                return self._from(index + 1, ballot, view, live=False)
            if ballot.vote not in POSITIVE:
                return NOT_SAMPLED
            admitted = ballot.vote is Vote.ADMITTED and so_far.vote is not Vote.LIMITED
            return self._from(index + 1, ballot if admitted else so_far, view, live=counts)

        return bind(self._policies[index](view, live), go_on, live=live)


class Drop:
    """A policy that drops a trace where all sub-policies sample."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._all = And(policies)

    def __call__(self, view: View, live: bool) -> Outcome:
        """Return the outcome for a trace."""
        return bind(self._all(view, live), _dropping, live=live)


def _dropping(ballot: Ballot, _counts: bool) -> Outcome:
    return DROPPED if ballot.vote in POSITIVE else NOT_SAMPLED


class Not:
    """A policy that samples where its sub-policy does not."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def __call__(self, view: View, live: bool) -> Outcome:
        """Return the outcome for a trace."""
        return bind(self._policy(view, live), _turned, live=live)


def _turned(ballot: Ballot, _counts: bool) -> Outcome:
    return NOT_SAMPLED if ballot.vote in POSITIVE else SAMPLED


@dataclass(frozen=True, slots=True)
class Share:
    """A sub-policy of a composite and what it may sample a second, in spans."""

    policy: Policy
    budget: SecondBudget


class Composite:
    """A policy that keeps a trace if it fits the share of the rate of the first sub-policy that samples it."""

    def __init__(self, shares: Sequence[Share], now: Clock) -> None:
        self._shares = shares
        self._now = now

    def __call__(self, view: View, live: bool) -> Outcome:
        """Return the outcome for a trace."""
        return self._from(0, view, live=live)

    def _from(self, index: int, view: View, *, live: bool) -> Outcome:
        if index == len(self._shares):
            return NOT_SAMPLED
        share = self._shares[index]

        def go_on(ballot: Ballot, counts: bool) -> Outcome:
            if ballot.vote in POSITIVE:
                return admit(share.budget, len(view.spans), self._now, live=counts)
            return self._from(index + 1, view, live=counts)

        return bind(share.policy(view, live), go_on, live=live)
