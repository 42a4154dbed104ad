"""Every object that this repository would give a cluster is taken by a real API server, custom resources included."""

from __future__ import annotations

import pytest

from tests.deploy.support.chart import CASES, application, render

pytestmark = [pytest.mark.slow]


@pytest.mark.parametrize("case", [None, *CASES], ids=lambda case: case.name if case else "defaults")
def test_releases_are_admitted(kubernetes_with_operators, case):
    admit(kubernetes_with_operators, render(*([case] if case else [])))


def test_charts_that_include_the_sidecar_are_admitted(kubernetes_with_operators, tmp_path):
    admit(kubernetes_with_operators, render(chart=application(tmp_path)))


def admit(server, objects):
    assert objects
    for item in objects:
        server.create(item, dry_run=True)
