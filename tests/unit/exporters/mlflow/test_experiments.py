"""From the experiment a trace should go to, to an id."""

from __future__ import annotations

import pytest

from spanbridge.collector.errors import Held, Misplaced, Permanent, Retryable
from spanbridge.collector.exporters.mlflow.experiments import FAILED, FRESH, Experiment, Experiments
from spanbridge.collector.exporters.mlflow.routing import Route


class Directory:
    """Experiments in memory, by name."""

    def __init__(self, *known):
        self.known = {e.name: e for e in known}
        self.asked = 0
        self.down = False

    def find_experiment(self, route):
        self.asked += 1
        if self.down:
            raise Retryable("down")
        return self.known.get(route.experiment)

    def create_experiment(self, route):
        self.known[route.experiment] = Experiment("new", route.experiment, active=True)
        return "new"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def of(directory, clock=None, *, create=True):
    return Experiments(directory, create=create, where="http://m", clock=clock or Clock())


def test_an_answer_is_remembered_and_asked_again_after_a_while():
    directory, clock = Directory(Experiment("1", "a", active=True)), Clock()
    experiments = of(directory, clock)
    assert [experiments.resolve(Route("a")) for _ in range(3)] == ["1"] * 3
    assert directory.asked == 1
    clock.now += FRESH
    directory.known["a"] = Experiment("1", "a", active=False)
    with pytest.raises(Held, match="restore it with"):
        experiments.resolve(Route("a"))


def test_a_failure_is_remembered_shortly():
    directory, clock = Directory(), Clock()
    experiments = of(directory, clock)
    directory.down = True
    for _ in range(3):
        with pytest.raises(Retryable, match="down"):
            experiments.resolve(Route("a"))
    assert directory.asked == 1
    directory.down = False
    clock.now += FAILED
    assert experiments.resolve(Route("a")) == "new"


def test_forget():
    directory = Directory(Experiment("1", "a", active=True))
    experiments = of(directory)
    experiments.resolve(Route("a"))
    experiments.forget(Route("a"))
    experiments.resolve(Route("a"))
    assert directory.asked == 2


def test_workspaces_and_ids_are_kept_apart():
    directory = Directory(Experiment("1", "a", active=True))
    experiments = of(directory)
    for route in (Route("a"), Route("a", workspace="w"), Route("a", by_id=True)):
        experiments.resolve(route)
    assert directory.asked == 3


@pytest.mark.parametrize(
    ("route", "create", "error"),
    [
        (Route("x"), False, Held),
        (Route("x", by_client=True), False, Permanent),
        (Route("x", by_attributes=True), False, Misplaced),
        (Route("5", by_id=True), True, Held),
        (Route("5", by_id=True, by_client=True), True, Permanent),
    ],
)
def test_one_that_does_not_exist(route, create, error):
    with pytest.raises(error, match="does not exist; create it"):
        of(Directory(), create=create).resolve(route)


def test_what_one_sender_is_told_of_an_experiment_is_not_what_all_are_told():
    experiments = of(Directory(), create=False)
    with pytest.raises(Permanent):
        experiments.resolve(Route("x", by_client=True))
    with pytest.raises(Held):
        experiments.resolve(Route("x", run_id="r"))
