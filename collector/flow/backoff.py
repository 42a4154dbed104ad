"""How long to wait before the next try: capped, jittered, and never a reason to give up."""

from __future__ import annotations

from dataclasses import dataclass

_MAX_DOUBLINGS = 64
"""Retries are endless, and an uncapped exponent overflows a float after some thousand of them."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Intervals in seconds, as the Collector's `retry_on_failure` names them (config/configretry)."""

    initial_interval: float = 1.0
    max_interval: float = 30.0
    multiplier: float = 2.0
    randomization_factor: float = 0.5

    def delay(self, failures: int, chance: float, at_least: float | None = None) -> float:
        """Return how many seconds to wait.

        Args:
            failures: How many there were in a row, 1 or more.
            chance: A random number in [0, 1).
            at_least: Seconds that the destination asked for: a floor, itself capped at ten times `max_interval` so that
                a wrong header can't park a queue for days.
        """
        exponent = min(max(failures, 1) - 1, _MAX_DOUBLINGS)
        interval = min(self.initial_interval * self.multiplier**exponent, self.max_interval)
        jittered = interval * (1 + self.randomization_factor * (2 * chance - 1))
        return max(jittered, min(at_least or 0.0, 10 * self.max_interval))
