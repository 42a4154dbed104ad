"""One API server for all tests of a run: it takes seconds to start."""

from __future__ import annotations

import pytest
import yaml

from tests.deploy.support.api_server import DEFINITIONS, api_server
from tests.polling import until_sync


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory):
    with api_server(tmp_path_factory.mktemp("kubernetes")) as server:
        server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "observability"}})
        yield server


@pytest.fixture(scope="session")
def kubernetes_with_operators(kubernetes):
    """The same with the custom resources of the Prometheus Operator and the OpenTelemetry Operator."""
    files = sorted(DEFINITIONS.glob("*.yaml"))
    if not files:
        pytest.skip("the definitions of custom resources are missing; tests/deploy/install-tools fetches them")
    for file in files:
        definition = yaml.safe_load(file.read_text())
        definition["spec"].pop("conversion", None)  # by a webhook, of which there is none
        kubernetes.create(definition)
    for file in files:
        name = yaml.safe_load(file.read_text())["metadata"]["name"]
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        until_sync(lambda path=path: _established(kubernetes.get(path)), what=name)
    return kubernetes


def _established(definition):
    conditions = definition.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)
