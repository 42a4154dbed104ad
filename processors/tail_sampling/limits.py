"""Limits on what passes in a time: a token bucket, and a budget that is new every second.

A limit turns traces away by their arrival, not by chance, so no probability can be given for what it lets pass. What it
turned away is therefore owed: the next trace it admits stands for those too, and totals stay right.
"""

from __future__ import annotations

from typing import TypeAlias


class TokenBucket:
    """A token bucket, full at first, as golang.org/x/time/rate, which contrib uses.

    Args:
        rate: Tokens that come in a second.
        capacity: The most tokens that it holds.
        now: The time in seconds.
    """

    __slots__ = ("_capacity", "_rate", "_tokens", "_updated", "owed")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self._rate = rate
        self._capacity = capacity
        self._tokens = capacity
        self._updated = now
        self.owed = 0.0

    def take(self, amount: float, now: float) -> bool:
        """Take tokens and return True; return False, and take nothing, where there are too few.

        Args:
            amount: How many tokens.
            now: The time in seconds.
        """
        self._tokens = min(self._capacity, self._tokens + max(0.0, now - self._updated) * self._rate)
        self._updated = max(now, self._updated)
        if amount > self._tokens:
            return False
        self._tokens -= amount
        return True


class SecondBudget:
    """A budget that is new with every full second of the clock, as in contrib's composite policy."""

    __slots__ = ("_limit", "_second", "_spent", "owed")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._second = 0
        self._spent = 0
        self.owed = 0.0

    def take(self, amount: int, now: float) -> bool:
        """Spend an amount and return True; return False, and spend nothing, where it does not fit.

        Args:
            amount: How much to spend.
            now: The time in seconds.
        """
        second = int(now)
        if second != self._second:
            self._second, self._spent = second, 0
        if self._spent + amount > self._limit:
            return False
        self._spent += amount
        return True


Limit: TypeAlias = TokenBucket | SecondBudget
