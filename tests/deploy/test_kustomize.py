"""The manifests for those without Helm: valid, and the same pods and configuration as the chart's."""

from __future__ import annotations

import copy

import pytest
import yaml

from spanbridge.collector.config.loading import load
from tests.deploy.support.chart import CHART, NEWEST, OLDEST, application, only, pod_spec, render
from tests.deploy.support.tools import ROOT, run

FOLDER = ROOT / "deploy/kubernetes"
BUILDS = ("gateway", "example")


def built(name):
    return list(yaml.safe_load_all(run("kustomize", "build", FOLDER / name)))


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", BUILDS)
def test_valid_in_the_oldest_and_the_newest_kubernetes(name, version):
    validate = pytest.importorskip("kubernetes_validate").validate
    for item in built(name):
        validate(item, version, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDS)
def test_admitted_by_an_api_server(kubernetes, name):
    for item in built(name):
        kubernetes.create(item, dry_run=True)


@pytest.mark.parametrize("name", ["gateway", "sidecar"])
def test_configuration_is_the_charts(name):
    text = (FOLDER / name / "config.yaml").read_text()
    assert yaml.safe_load(text) == yaml.safe_load((CHART / "values.yaml").read_text())["config"]
    assert load([f"yaml:{text}"], env={}).warnings == ()


def test_gateways_pods_are_the_charts():
    ours, charts = pod_spec(built("gateway")), pod_spec(render())
    for spec in (ours, charts):
        spec["serviceAccountName"] = "any"
        spec["topologySpreadConstraints"][0]["labelSelector"] = "itself"
        for volume in spec["volumes"]:
            volume.get("configMap", {})["name"] = "any"
    assert ours == charts


def test_gateways_service_is_the_charts():
    def ports(objects):
        return [
            {k: v for k, v in port.items() if k != "protocol"} for port in only(objects, "Service")["spec"]["ports"]
        ]

    assert ports(built("gateway")) == ports(render())


def test_sidecar_is_the_charts_but_for_where_its_configuration_comes_from(tmp_path):
    sidecar, migrate = pod_spec(built("example"))["initContainers"]
    assert migrate["name"] == "migrate"
    (charts,) = pod_spec(render(chart=application(tmp_path)))["initContainers"]
    expected = copy.deepcopy(charts)
    expected["args"] = ["--config=/conf/config.yaml"]
    expected["env"] = [entry for entry in expected["env"] if entry["name"] != "SPANBRIDGE_CONFIG"]
    expected["volumeMounts"].insert(0, {"name": "spanbridge-config", "mountPath": "/conf", "readOnly": True})
    assert sidecar == expected


def test_only_deployments_with_the_label_get_the_sidecar(tmp_path):
    text = (FOLDER / "example/application.yaml").read_text()
    (tmp_path / "application.yaml").write_text(
        text.replace('spanbridge.io/sidecar: "true"', 'spanbridge.io/sidecar: "no"')
    )
    component = FOLDER / "sidecar"
    copied = tmp_path / "sidecar"
    copied.mkdir()
    for file in component.iterdir():
        (copied / file.name).write_text(file.read_text())
    (tmp_path / "kustomization.yaml").write_text("resources: [application.yaml]\ncomponents: [sidecar]\n")
    objects = list(yaml.safe_load_all(run("kustomize", "build", tmp_path)))
    assert [container["name"] for container in pod_spec(objects)["initContainers"]] == ["migrate"]
