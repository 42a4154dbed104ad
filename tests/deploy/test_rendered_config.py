"""Every configuration that the chart renders is one that the bridge takes, and the gateway starts from it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import yaml

from spanbridge.collector.config.loading import load
from tests.deploy.support.chart import (
    CASES,
    CHART,
    application,
    bridge_config,
    environment,
    needs,
    only,
    pod_spec,
    render,
)
from tests.deploy.support.gateway import LOOPBACK, gateway, gateway_config
from tests.deploy.support.moody_mlflow import moody_mlflow
from tests.servers.certificates import Authority
from tests.servers.program import Ports

SIDECAR = [case for case in CASES if case.name.startswith("sidecar-")]
GATEWAY = [None, *(case for case in CASES if case not in SIDECAR)]
SECRETS = {"MLFLOW_TRACKING_URI": "postgresql://mlflow@database/mlflow", "SENDERS_TOKEN": "senders-token"}
"""What the Secrets that values name would hold."""


def case_id(case):
    return case.name.removesuffix("-values.yaml") if case else "defaults"


@pytest.mark.parametrize("case", GATEWAY, ids=case_id)
def test_a_gateways_configuration_is_valid(case):
    objects = render(*([case] if case else []))
    (container,) = pod_spec(objects)["containers"]
    config = load([f"yaml:{bridge_config(objects)}"], env=environment(container, SECRETS))
    assert config.warnings == ()


@pytest.mark.parametrize("case", SIDECAR, ids=case_id)
def test_a_sidecars_configuration_is_valid(case, tmp_path):
    values = yaml.safe_load(case.read_text()) | {"injection": {"enabled": False}}
    (container,) = pod_spec(render({"spanbridge": values}, chart=application(tmp_path)))["initContainers"]
    (source,) = [argument.removeprefix("--config=") for argument in container["args"]]
    config = load([source], env=environment(container))
    assert config.warnings == ()
    assert config.receivers["otlp"].protocols.grpc.endpoint == "localhost:4317"


def test_a_pods_own_configuration_is_merged(tmp_path):
    """As the injection adds it: a second --config."""
    own = tmp_path / "config.yaml"
    own.write_text("exporters: {mlflow: {experiment: mine}}")
    (container,) = pod_spec(render(chart=application(tmp_path)))["initContainers"]
    config = load(["env:SPANBRIDGE_CONFIG", str(own)], env=environment(container))
    assert config.exporters["mlflow"].experiment == "mine"


def test_the_experiment_of_the_annotation_counts(tmp_path):
    """The kubelet puts it into a variable; without the annotation the variable is empty."""
    (container,) = pod_spec(render(chart=application(tmp_path)))["initContainers"]
    for annotation, experiment in (("team {a}", "team {a}"), ("", "")):
        env = environment(container) | {"MLFLOW_EXPERIMENT_NAME": annotation}
        assert load(["env:SPANBRIDGE_CONFIG"], env=env).exporters["mlflow"].experiment == experiment


# Values that only say where pods run render the same configuration: one start serves them all.
DIFFERENT = [None, *(case for case in CASES if case not in SIDECAR and "config:" in case.read_text())]


@pytest.mark.slow
@pytest.mark.parametrize("case", DIFFERENT, ids=case_id)
def test_the_gateway_starts_and_takes_the_span_of_helm_test(case, tmp_path):
    ports = Ports()
    with moody_mlflow() as mlflow:
        config = gateway_config(ports, tmp_path, mlflow.uri, *([case] if case else []))
        tls = config["receivers"]["otlp"]["protocols"]["grpc"].get("tls")
        if tls:
            pair = Authority(tmp_path).issue("localhost")
            tls |= {"cert_file": str(pair.cert), "key_file": str(pair.key)}
        if "otlp/team" in config["receivers"]:
            config["receivers"]["otlp/team"]["protocols"]["http"]["endpoint"] = "127.0.0.1:0"
        with gateway(config, tmp_path, ports, LOOPBACK | SECRETS) as program:
            helm_test(f"http://127.0.0.1:{ports.http}/v1/traces", case)
            assert program.metric("otelcol_receiver_accepted_spans") == 1
            assert program.stop() == 0


def helm_test(url, case):
    """What the pod of `helm test` does."""
    (container,) = only(render(*([case] if case else [])), "Pod")["spec"]["containers"]
    assert container["command"] == ["python", "-c"]
    (script,) = container["args"]
    assert script.strip() == (CHART / "files/send.py").read_text().strip()
    env = {**os.environ, **environment(container, SECRETS), "URL": url}
    subprocess.run([sys.executable, "-c", script], env=env, check=True, timeout=30)


def test_needs_is_about_injection_alone():
    assert {case_id(case) for case in CASES if needs(case) != "1.30"} == {"sidecar-injection"}
