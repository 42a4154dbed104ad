"""Limits on what passes in a time: a token bucket, and a budget that is new every second.

A limit turns traces away by their arrival, not by chance, so no probability can be given for what it lets pass. What it
turned away is therefore owed: the next trace it admits stands for those too, and totals stay right.
"""

from __future__ import annotations

from typing import TypeAlias


class TokenBucket:
    """`rate` tokens a second, at most `capacity`, full at first: golang.org/x/time/rate, which contrib uses."""

    __slots__ = ("_capacity", "_rate", "_tokens", "_updated", "owed")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self._rate = rate
        self._capacity = capacity
        self._tokens = capacity
        self._updated = now
        self.owed = 0.0

    def take(self, amount: float, now: float) -> bool:
        """Take tokens at a time in seconds; False, and nothing is taken, where there are too few."""
        self._tokens = min(self._capacity, self._tokens + max(0.0, now - self._updated) * self._rate)
        self._updated = max(now, self._updated)
        if amount > self._tokens:
            return False
        self._tokens -= amount
        return True


class SecondBudget:
    """`limit` a second, counted anew with every full second of the clock: contrib's composite policy."""

    __slots__ = ("_limit", "_second", "_spent", "owed")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._second = 0
        self._spent = 0
        self.owed = 0.0

    def take(self, amount: int, now: float) -> bool:
        """Spend an amount at a time in seconds; False, and nothing is spent, where it does not fit."""
        second = int(now)
        if second != self._second:
            self._second, self._spent = second, 0
        if self._spent + amount > self._limit:
            return False
        self._spent += amount
        return True


Limit: TypeAlias = TokenBucket | SecondBudget
