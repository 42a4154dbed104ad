"""The chart: what it renders is valid, what it refuses it refuses with a sentence, and it documents all of itself."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml

from spanbridge.collector.config.json_schema import json_schema
from tests.deploy.support import snapshot
from tests.deploy.support.chart import (
    CASES,
    CHART,
    NEWEST,
    OLDEST,
    Refused,
    application,
    environment,
    flags,
    needs,
    only,
    pod_spec,
    render,
    workload,
)
from tests.deploy.support.tools import ROOT, attempt, run

OPERATOR_GROUP = "monitoring.coreos.com"
"""Custom resources: Kubernetes' schemas don't have them; test_api_server checks them against their definitions."""


def case_id(case: Path) -> str:
    return case.name.removesuffix("-values.yaml")


@pytest.mark.parametrize("case", [None, *CASES], ids=lambda case: case_id(case) if case else "defaults")
def test_lint(case):
    version = ["--kube-version", NEWEST]
    run("helm", "lint", "--strict", CHART, *version, *(flags(case) if case else []))


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("case", [None, *CASES], ids=lambda case: case_id(case) if case else "defaults")
def test_valid_in_the_oldest_and_the_newest_kubernetes(case, version):
    if case and float(version) < float(needs(case)):
        with pytest.raises(Refused, match=r"needs Kubernetes 1\.36 or later"):
            render(case, kubernetes=version)
        return
    check(render(*([case] if case else []), kubernetes=version), version)


def test_valid_in_charts_that_include_the_sidecar(tmp_path):
    chart = application(tmp_path)
    for version in (OLDEST, NEWEST):
        check(render(chart=chart, kubernetes=version), version)


def check(objects, version):
    validate = pytest.importorskip("kubernetes_validate").validate
    names = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in objects]
    assert len(set(names)) == len(names)
    for item in objects:
        if not item["apiVersion"].startswith(OPERATOR_GROUP):
            validate(item, version, strict=True)


@pytest.mark.parametrize("name", snapshot.RELEASES)
def test_snapshot(name):
    assert snapshot.rendered(name) == snapshot.path(name).read_text(), (
        "as it should be? python -m tests.deploy.support.snapshot"
    )


def sentence(values, **options):
    with pytest.raises(Refused) as refused:
        render(values, **options)
    return str(refused.value).splitlines()[0].partition("checks.yaml:1:4): ")[2]


def exporter(**keys):
    return {"config": {"exporters": {"mlflow": keys}}}


TAIL = {"processors": {"tail_sampling": {"policies": [{"name": "a", "type": "always_sample"}]}}}
TAIL_PIPELINE = {"service": {"pipelines": {"traces": {"processors": ["tail_sampling"]}}}}
IMPOSSIBLE = yaml.safe_load((Path(__file__).parent / "impossible.yaml").read_text())


@pytest.mark.parametrize("case", IMPOSSIBLE, ids=lambda case: case["name"])
def test_impossible_values_end_in_a_sentence(case):
    assert sentence(case["values"]) == case["sentence"]


def test_a_sidecar_has_to_fit_into_an_environment_variable():
    values = {"mode": "sidecar", "config": {"processors": {"redaction": {"blocked_values": ["x" * 100_000]}}}}
    assert sentence(values).startswith("config: is larger than 100 kB, too large for the environment variable")


def test_injection_wants_a_kubernetes_that_has_it():
    expected = (
        "injection.enabled: needs Kubernetes 1.36 or later, for MutatingAdmissionPolicy in "
        "admissionregistration.k8s.io/v1, and this is v1.35; set it to false and include the template "
        "spanbridge.sidecar in the charts of your applications"
    )
    assert sentence({"mode": "sidecar"}, kubernetes="1.35") == expected


@pytest.mark.parametrize(
    "values",
    [
        {"terminationGracePeriodSeconds": 25},
        {"mode": "sidecar", "terminationGracePeriodSeconds": 20},
        {"config": {"service": {"shutdown_timeout": "${env:DRAIN}"}}},
        {"journal": {"size": "2112Mi"}},
        {"journal": {"size": "100Mi"}} | exporter(sending_queue={"sizer": "bytes", "queue_size": 18 << 20}),
        {"journal": {"size": "1Mi"}} | exporter(sending_queue={"storage": ""}),
        {"config": TAIL | TAIL_PIPELINE},
        {"replicaCount": 3, "traceIdRouting": True, "config": TAIL | TAIL_PIPELINE},
        {"replicaCount": 3, "config": TAIL},
        exporter(token="${env:TOKEN}", headers={"x-team": "ml"}),
        exporter(tracking_uri="postgresql://mlflow:${env:PASSWORD}@db/mlflow"),
        {"config": {"processors": {"genai": {"sources": {"openinference": {"overwrite": True}, "traceloop": None}}}}},
        {"config": {"processors": {"redaction": {"detectors": "all"}, "tag_schema": {"schema": "standard"}}}},
        {"mode": "sidecar", "image": {"tag": "1"}} | exporter(tracking_uri="sqlite:////data/mlflow.db"),
    ],
    ids=str,
)
def test_possible_values_are_taken(values):
    assert render(values)


def test_a_wrong_configuration_is_refused_by_its_schema():
    with pytest.raises(Refused, match="additional properties 'timout' not allowed"):
        render(exporter(timout="3s"))


def test_values_are_refused_that_there_are_not():
    with pytest.raises(Refused, match="additional properties 'replicas' not allowed"):
        render({"replicas": 2})


def test_one_container_in_both_modes(tmp_path):
    (gateway,) = pod_spec(render())["containers"]
    (sidecar,) = pod_spec(render(chart=application(tmp_path)))["initContainers"]
    own = {"args", "env", "ports", "volumeMounts", "image", "lifecycle", "restartPolicy"}
    assert {key: gateway[key] for key in gateway.keys() - own} == {key: sidecar[key] for key in sidecar.keys() - own}
    assert sidecar["restartPolicy"] == "Always"


def test_sidecar_sees_its_configuration_as_it_is(tmp_path):
    """With the dollars of ${env:…} and of $$ as they were."""
    written = {"exporters": {"mlflow": {"experiment": "$$5 ${env:TEAM} $(PATH)"}}}
    chart = application(tmp_path)
    (sidecar,) = pod_spec(render({"spanbridge": {"config": written}}, chart=chart))["initContainers"]
    seen = yaml.safe_load(environment(sidecar)["SPANBRIDGE_CONFIG"])
    assert seen["exporters"]["mlflow"]["experiment"] == "$$5 ${env:TEAM} $(PATH)"
    assert seen["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] == "${env:SPANBRIDGE_HOST:-localhost}:4317"


def test_pods_are_replaced_when_the_configuration_changes():
    def checksum(values):
        return workload(render(values))["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum({}) == checksum({"replicaCount": 2})
    assert checksum({}) != checksum(exporter(timeout="3s"))


@pytest.mark.parametrize("values", [{}, {"mode": "sidecar"}, {"persistence": {"enabled": True}}], ids=str)
def test_hardened(values, tmp_path):
    objects = render(values)
    containers = []
    for item in objects:
        spec = item["spec"] if item["kind"] == "Pod" else item.get("spec", {}).get("template", {}).get("spec")
        if spec:
            containers += spec["containers"]
            assert spec["automountServiceAccountToken"] is False
            assert spec["securityContext"]["runAsNonRoot"] is True
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    if values.get("mode") == "sidecar":
        containers += pod_spec(render(chart=application(tmp_path)))["initContainers"]
    assert containers
    for container in containers:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["runAsNonRoot"] is True


def test_ports_follow_the_configuration():
    values = {
        "config": {
            "receivers": {"otlp": {"protocols": {"grpc": None, "http": {"endpoint": ":14318"}}}},
            "extensions": {"health_check": {"use_v2": True, "http": {"endpoint": "0.0.0.0:10133"}}},
            "service": {"telemetry": {"metrics": {"readers": None, "address": ":18888"}}},
        }
    }
    objects = render(values)
    (container,) = pod_spec(objects)["containers"]
    expected = {"otlp-http": 14318, "bridge-health": 10133, "bridge-metrics": 18888}
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == expected
    del expected["bridge-health"]
    assert {port["name"]: port["port"] for port in only(objects, "Service")["spec"]["ports"]} == expected


def test_statefulset_keeps_the_journal_on_a_claim():
    objects = render({"persistence": {"enabled": True}})
    stateful = workload(objects)
    (claim,) = stateful["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "2560Mi"
    headless = [item for item in objects if item["kind"] == "Service" and item["spec"].get("clusterIP") == "None"]
    assert [item["metadata"]["name"] for item in headless] == [stateful["spec"]["serviceName"]]
    volumes = {volume["name"] for volume in stateful["spec"]["template"]["spec"]["volumes"]}
    assert claim["metadata"]["name"] not in volumes


def test_notes_say_what_to_do_next_and_what_to_mind():
    done = attempt("helm", "install", "bridge", CHART, "--dry-run=client", *flags({"replicaCount": 2}))
    notes = done.stdout.partition("NOTES:")[2]
    assert "http://bridge-spanbridge.default:4318" in notes
    assert "helm test bridge" in notes
    assert "[WARNING] With several pods" in notes
    assert "[WARNING] The journal is an emptyDir" in notes


def values_schema():
    spec = importlib.util.spec_from_file_location("values_schema", ROOT / "helm/values_schema.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_schema_of_values_is_up_to_date():
    module = values_schema()
    assert module.SCHEMA.read_text() == module.rendered(), "run python helm/values_schema.py"


def test_a_value_without_a_comment_has_no_schema():
    with pytest.raises(ValueError, match=r"image\.tag: has no comment"):
        values_schema().values_schema("image:\n  tag: ''\n")


def test_every_value_is_used():
    templates = "".join(path.read_text() for path in CHART.glob("templates/**/*") if path.is_file())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    unused = {key for key in values if not re.search(rf"\.Values\.{key}\b|\"{key}\"", templates)}
    assert unused == {"enabled"}, "read by the charts that depend on this one"


def test_every_secret_of_the_configuration_is_known_to_the_chart():
    """What is a secret in the schema can't be written into the values."""
    known = re.search(r'regexMatch "\(\?i\)(.*?)" \$key', (CHART / "templates/_checks.tpl").read_text())[1]
    secrets = set(secret_keys(json_schema()))
    assert {key for key in secrets if not re.match(known, key, re.IGNORECASE)} == {"username"}


def secret_keys(schema):
    for key, value in schema.get("properties", {}).items():
        if '"writeOnly"' in json.dumps(value) and "additionalProperties" not in json.dumps(value):
            yield key
    for part in schema.values():
        for item in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            if isinstance(item, dict):
                yield from secret_keys(item)
