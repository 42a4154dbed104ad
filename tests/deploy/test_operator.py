"""The OpenTelemetry Operator with our image: what it makes of deploy/operator/collector.yaml, by its own code, runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
import urllib3
import yaml

from spanbridge.collector.config.loading import load
from tests.deploy.support.chart import environment
from tests.deploy.support.moody_mlflow import moody_mlflow
from tests.deploy.support.tools import ROOT, run
from tests.polling import until_sync
from tests.samples.sender import Sender
from tests.samples.spans import trace_batch
from tests.servers.ports import free_port
from tests.servers.program import POOL

RESOURCE = yaml.safe_load((ROOT / "deploy/operator/collector.yaml").read_text())
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "application",
        "namespace": "shop",
        "annotations": {"sidecar.opentelemetry.io/inject": "true"},
    },
    "spec": {"containers": [{"name": "application", "image": "application"}]},
}


def injected(folder, **config):
    """What the Operator makes of our resource and a pod that asks for it; `config` takes the place of sections."""
    resource = RESOURCE | {"metadata": RESOURCE["metadata"] | {"namespace": "shop"}}
    resource["spec"] = resource["spec"] | {"config": resource["spec"]["config"] | config}
    for name, item in (("collector", resource), ("pod", POD)):
        (folder / f"{name}.json").write_text(json.dumps(item))
    return json.loads(run("operator", folder / "collector.json", folder / "pod.json"))


def test_configuration_is_valid():
    config = load([f"yaml:{yaml.safe_dump(RESOURCE['spec']['config'])}"], env={})
    assert config.warnings == ()


@pytest.mark.slow
def test_admitted_by_an_api_server(kubernetes_with_operators):
    kubernetes_with_operators.create(RESOURCE, dry_run=True)


def test_sidecar_that_the_operator_makes(tmp_path):
    made = injected(tmp_path)
    (container,) = made["pod"]["spec"]["initContainers"]
    assert container["restartPolicy"] == "Always"
    assert container["args"] == ["--config=env:OTEL_CONFIG"]
    assert {port["containerPort"] for port in container["ports"]} >= {4317, 4318, 8888, 13133}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/", "port": 13133}
    assert [volume["name"] for volume in made["pod"]["spec"]["volumes"]] == ["spanbridge-journal"]
    config = load(["env:OTEL_CONFIG"], env=environment(container))
    assert config.extensions["health_check"].listen == "0.0.0.0:13133"
    assert config.receivers["otlp"].protocols.grpc.endpoint == "localhost:4317"


def test_deployment_that_the_operator_makes(tmp_path):
    """Its configuration is a file in /conf."""
    made = injected(tmp_path)
    assert made["container"]["args"] == ["--config=/conf/collector.yaml"]
    file = tmp_path / "collector.yaml"
    file.write_text(made["config"])
    assert load([str(file)], env={}).warnings == ()


def test_defaults_that_the_operator_adds_are_taken(tmp_path):
    """Endpoints and the metrics' reader, where the resource has none."""
    receivers = {"otlp": {"protocols": {"grpc": {}, "http": {}}}}
    extensions = {"file_storage": {"create_directory": True}, "health_check": {}}
    service = {key: value for key, value in RESOURCE["spec"]["config"]["service"].items() if key != "telemetry"}
    made = injected(tmp_path, receivers=receivers, extensions=extensions, service=service)
    config = load([f"yaml:{made['config']}"], env={})
    assert config.receivers["otlp"].protocols.http.endpoint == "0.0.0.0:4318"
    assert config.service.telemetry.metrics.endpoint.port == 8888


@pytest.mark.slow
def test_sidecar_that_the_operator_makes_runs(tmp_path):
    """With flags that Operators of other versions pass, too."""
    with moody_mlflow() as mlflow:
        (container,) = injected(tmp_path)["pod"]["spec"]["initContainers"]
        env = environment(container)
        ports = {port: free_port() for port in (4317, 4318, 8888, 13133)}
        text = env["OTEL_CONFIG"].replace("/var/lib/spanbridge", str(tmp_path)).replace("0.0.0.0", "127.0.0.1")
        text = text.replace(RESOURCE["spec"]["config"]["exporters"]["mlflow"]["tracking_uri"], mlflow.uri)
        for theirs, ours in ports.items():
            text = re.sub(rf"\b{theirs}\b", str(ours), text)
        command = [sys.executable, "-m", "spanbridge", *container["args"], "--feature-gates=-component.UseLocalHost"]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **env, "OTEL_CONFIG": text}, stdout=log, stderr=log
            )
        try:
            until_sync(lambda: ready(process, ports[13133]), what="readiness")
            Sender(ports[4317]).send_all([trace_batch()])
            until_sync(lambda: mlflow.requests, what="the trace")
            assert "--feature-gates: there are none here; ignored" in (tmp_path / "log").read_text()
        finally:
            process.terminate()
            process.wait(30)


def ready(process, port):
    assert process.poll() is None
    try:
        return POOL.request("GET", f"http://127.0.0.1:{port}/").status == 200
    except urllib3.exceptions.HTTPError:
        return False
