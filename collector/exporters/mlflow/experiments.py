"""The way from the experiment that a trace should go to, to the id of one that exists."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from spanbridge.collector.errors import ExportError, Held, Misplaced, Permanent
from spanbridge.collector.exporters.mlflow.routing import Route

FRESH = 60.0
"""Seconds for which an answer holds: a deleted experiment still takes traces, so it has to be noticed."""

FAILED = 5.0
"""Seconds for which a failure holds: many traces of one route must not ask once each."""

_CAPACITY = 10_000


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment as MLflow has it; a deleted one is not `active`."""

    id: str
    name: str
    active: bool


class Directory(Protocol):
    """The experiments of a destination."""

    def find_experiment(self, route: Route) -> Experiment | None:
        """Find the experiment of that id or name, deleted or not; None if there is none.

        Raises:
            ExportError: It can't be told.
        """

    def create_experiment(self, route: Route) -> str:
        """Create one and return its id, or the id of one that came into being meanwhile.

        Raises:
            ExportError: It can't be created.
        """


class Experiments:
    """The ids of the experiments that routes lead to. Threads may ask at once; at worst they ask MLflow the same.

    Args:
        directory: The experiments of the destination.
        create: Whether to create those that are missing.
        where: The destination, without its password; sentences begin with it.
        clock: Seconds; answers are remembered for a while.
    """

    def __init__(
        self, directory: Directory, *, create: bool, where: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory = directory
        self._create = create
        self._where = where
        self._clock = clock
        self._answers: dict[Route, tuple[float, str | ExportError]] = {}

    def resolve(self, route: Route) -> str:
        """Return the id of the experiment of a route.

        Raises:
            Held: The configured experiment is unknown or deleted.
            Misplaced: The same of one in whose name are attributes of the trace.
            Permanent: The one a sender named is, which is no reason to hold the others up.
            Retryable: MLflow can't be asked.
        """
        key = replace(route, run_id="")
        expiry, answer = self._answers.get(key, (0.0, ""))
        if self._clock() >= expiry:
            expiry, answer = self._look(route)
            if len(self._answers) >= _CAPACITY:
                self._answers.clear()
            self._answers[key] = (expiry, answer)
        if isinstance(answer, ExportError):
            raise copy.copy(answer)  # which of many threads raises it: each needs a traceback of its own
        return answer

    def forget(self, route: Route) -> None:
        """Forget an answer, as MLflow no longer knows the experiment: the next call asks again."""
        self._answers.pop(replace(route, run_id=""), None)

    def _look(self, route: Route) -> tuple[float, str | ExportError]:
        try:
            return self._clock() + FRESH, self._find_or_create(route)
        except ExportError as error:
            return self._clock() + FAILED, copy.copy(error)

    def _find_or_create(self, route: Route) -> str:
        found = self.look(route)
        return found.id if found else self._directory.create_experiment(route)

    def look(self, route: Route) -> Experiment | None:
        """Look up the experiment of a route as MLflow has it now; None if it is still to be created.

        Raises:
            ExportError: As `resolve`.
        """
        found = self._directory.find_experiment(route)
        if found is None:
            if self._create and not route.by_id:
                return None
            raise self._fault(route, "does not exist; create it or correct the name")
        if not found.active:
            mend = f"is deleted; restore it with `mlflow experiments restore --experiment-id {found.id}`"
            raise self._fault(route, mend)
        return found

    def check(self, route: Route) -> str:
        """Return a sentence on the experiment of a route, if all is well.

        Raises:
            ExportError: As `resolve`.
        """
        found = self.look(route)
        return f"experiment {found.name!r} exists" if found else f"experiment {route.experiment!r} will be created"

    def _fault(self, route: Route, what: str) -> ExportError:
        kind = "experiment id" if route.by_id else "experiment"
        sentence = f"{self._where}: {kind} {route.experiment!r} {what}"
        if route.by_client:
            return Permanent(sentence)
        return Misplaced(sentence) if route.by_attributes else Held(sentence)
