"""The injection, by a real API server: what becomes of pods with and without the annotation."""

from __future__ import annotations

import copy

import pytest
import yaml

from tests.deploy.support.api_server import Rejected
from tests.deploy.support.chart import application, environment, only, pod_spec, render
from tests.polling import until_sync

pytestmark = [pytest.mark.slow]

LABEL = {"spanbridge.io/injected": "true"}
NASTY = {"processors": {"redaction": {"allowed_values": ["\"} + \\ ' ` $(A) $$ {{x}} <&>", "\u2028é😀\t\n\x07"]}}}
"""Text in the configuration that could end a string on its way through YAML, CEL or JSON."""
HTTP = [
    {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://localhost:4318"},
    {"name": "OTEL_EXPORTER_OTLP_PROTOCOL", "value": "http/protobuf"},
]


@pytest.fixture(scope="module")
def cluster(kubernetes):
    """An API server on which the chart is installed, in mode sidecar."""
    selector = {"matchExpressions": [{"key": "spanbridge", "operator": "NotIn", "values": ["disabled"]}]}
    policies = render({"mode": "sidecar", "config": NASTY, "injection": {"namespaceSelector": selector}})
    namespace = {"name": "disabled", "labels": {"spanbridge": "disabled"}}
    for item in [{"apiVersion": "v1", "kind": "Namespace", "metadata": namespace}, *policies]:
        kubernetes.create(item)
    # Policies are seen by a watch; until then a pod goes through as it is.
    until_sync(lambda: "initContainers" in admitted(kubernetes, pod())["spec"], what="the policies")
    until_sync(lambda: refusal(kubernetes, pod(inject="yes")), what="the policies")
    yield kubernetes
    for item in policies:
        kubernetes.delete(item)


def pod(namespace="default", spec=None, labels=None, **annotations):
    """A pod that wants the sidecar, unless told otherwise; `annotations` are those of spanbridge.io."""
    annotations = {f"spanbridge.io/{key}": value for key, value in ({"inject": "true"} | annotations).items()}
    metadata = {"name": "application", "namespace": namespace, "annotations": annotations}
    if labels is not None:
        metadata["labels"] = labels
    containers = {"containers": [{"name": "application", "image": "application"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": containers | (spec or {})}


def plain(item):
    """The same without any annotation."""
    bare = copy.deepcopy(item)
    del bare["metadata"]["annotations"]
    return bare


def admitted(server, item):
    return server.create(item, dry_run=True)


def refusal(server, item):
    try:
        admitted(server, item)
    except Rejected as rejected:
        return str(rejected)
    return ""


def sidecar():
    """What the chart's template for other charts makes, as a pod's item."""
    return copy.deepcopy(_SIDECAR)


@pytest.fixture(scope="module", autouse=True)
def _template(tmp_path_factory):
    global _SIDECAR, _VOLUMES
    spec = pod_spec(render({"spanbridge": {"config": NASTY}}, chart=application(tmp_path_factory.mktemp("chart"))))
    _SIDECAR, _VOLUMES = spec["initContainers"][0], spec["volumes"]


def with_sidecar(item, *, env=HTTP, volumes=(), **changes):
    """The pod as it should come out: the sidecar first, its volume last, and `env` in the first container."""
    expected = copy.deepcopy(item)
    spec = expected["spec"]
    spec["initContainers"] = [sidecar() | changes, *spec.get("initContainers", [])]
    spec["volumes"] = [*spec.get("volumes", []), *_VOLUMES, *volumes]
    spec["containers"][0]["env"] = [*spec["containers"][0].get("env", []), *env]
    expected["metadata"]["labels"] = expected["metadata"].get("labels", {}) | LABEL
    return expected


def same(server, given, expected):
    """Hold what comes of `given` to `expected`, which goes through admission unharmed: its own sidecar is there."""
    got, wanted = admitted(server, given), admitted(server, expected)
    for part in ("uid", "creationTimestamp", "managedFields"):
        got["metadata"].pop(part, None)
        wanted["metadata"].pop(part, None)
    assert got == wanted


def test_without_the_annotation_nothing_happens(cluster):
    bare = plain(pod())
    assert "initContainers" not in admitted(cluster, bare)["spec"]
    assert "labels" not in admitted(cluster, bare)["metadata"]


def test_injection_can_be_declined(cluster):
    assert "initContainers" not in admitted(cluster, pod(inject="false"))["spec"]


def test_annotated(cluster):
    same(cluster, pod(), with_sidecar(pod()))


def test_what_the_pod_has_stays(cluster):
    spec = {
        "initContainers": [{"name": "migrate", "image": "migrate"}],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "containers": [{"name": "application", "image": "application", "env": [{"name": "A", "value": "$(B)"}]}],
    }
    item = pod(spec=spec, labels={"app": "x"})
    same(cluster, item, with_sidecar(item))
    assert [c["name"] for c in admitted(cluster, item)["spec"]["initContainers"]] == ["spanbridge", "migrate"]


def test_never_twice(cluster):
    once = admitted(cluster, pod())
    again = {key: once[key] for key in ("apiVersion", "kind", "spec")}
    again["metadata"] = {key: once["metadata"][key] for key in ("name", "namespace", "annotations", "labels")}
    assert admitted(cluster, again)["spec"] == once["spec"]


def test_not_beside_a_container_of_that_name(cluster):
    spec = {"containers": [{"name": "spanbridge", "image": "mine"}]}
    assert "initContainers" not in admitted(cluster, pod(spec=spec))["spec"]


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease"])
def test_never_in_the_namespaces_of_the_cluster(cluster, namespace):
    until_sync(lambda: cluster.get(f"/api/v1/namespaces/{namespace}")["kind"] == "Namespace")
    assert "initContainers" not in admitted(cluster, pod(namespace))["spec"]


def test_mirrors_of_static_pods_are_left_alone(cluster):
    item = pod(spec={"nodeName": "node"})
    item["metadata"]["annotations"]["kubernetes.io/config.mirror"] = "x"
    assert "initContainers" not in admitted(cluster, item)["spec"]


OWN = {
    "an endpoint": ([{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://other"}], []),
    "an endpoint for traces": ([{"name": "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "value": "http://other"}], []),
    "an endpoint from elsewhere": (
        [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
        [],
    ),
    "a protocol": (
        [{"name": "OTEL_EXPORTER_OTLP_PROTOCOL", "value": "grpc"}],
        [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://localhost:4317"}],
    ),
    "a protocol for traces": (
        [{"name": "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "value": "http/protobuf"}],
        [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://localhost:4318"}],
    ),
    "a protocol that nobody knows": (
        [{"name": "OTEL_EXPORTER_OTLP_PROTOCOL", "value": "http/json"}],
        [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://localhost:4318"}],
    ),
    "other settings": ([{"name": "OTEL_SERVICE_NAME", "value": "shop"}], HTTP),
}


@pytest.mark.parametrize("name", OWN)
def test_variables_that_the_application_has_are_kept(cluster, name):
    own, added = OWN[name]
    item = pod(spec={"containers": [{"name": "application", "image": "application", "env": own}]})
    same(cluster, item, with_sidecar(item, env=added))


def test_each_container_is_asked(cluster):
    def container(name, *env):
        return {"name": name, "image": name, "env": [{"name": key, "value": value} for key, value in env]}

    spec = {
        "containers": [
            container("own", ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other")),
            {"name": "none", "image": "none"},
            container("grpc", ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")),
        ]
    }
    containers = admitted(cluster, pod(spec=spec))["spec"]["containers"]
    endpoints = [environment(found).get("OTEL_EXPORTER_OTLP_ENDPOINT") for found in containers]
    assert endpoints == ["http://other", "http://localhost:4318", "http://localhost:4317"]


def test_protocol_of_the_pod(cluster):
    env = [
        {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://localhost:4317"},
        {"name": "OTEL_EXPORTER_OTLP_PROTOCOL", "value": "grpc"},
    ]
    same(cluster, pod(protocol="grpc"), with_sidecar(pod(protocol="grpc"), env=env))


def test_configuration_of_the_pod_is_merged_over_the_sidecars(cluster):
    volume = {"name": "spanbridge-config", "configMap": {"name": "my-config"}}
    mount = {"name": "spanbridge-config", "mountPath": "/conf", "readOnly": True}
    expected = with_sidecar(
        pod(config="my-config"),
        volumes=[volume],
        args=["--config=env:SPANBRIDGE_CONFIG", "--config=/conf/config.yaml"],
        volumeMounts=[*sidecar()["volumeMounts"], mount],
    )
    same(cluster, pod(config="my-config"), expected)


@pytest.mark.parametrize(("seconds", "becomes"), [(0, 30), (10, 30), (30, 30), (300, 300)])
def test_the_grace_period_is_long_enough(cluster, seconds, becomes):
    item = pod(spec={"terminationGracePeriodSeconds": seconds})
    assert admitted(cluster, item)["spec"]["terminationGracePeriodSeconds"] == becomes


HOSTILE = [
    "x\nexporters: {debug: {}}",
    '", "image": "evil',
    "$(MLFLOW_TRACKING_TOKEN)",
    "${file:/var/run/secrets/kubernetes.io/serviceaccount/token}",
    '"} + [JSONPatch{op: "remove", path: "/spec"}]',
    "{service.name",
    "../../etc",
    "\\u0000",
    "x" * 5000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:20]))
def test_no_text_of_the_author_gets_into_the_sidecar(cluster, text):
    """The experiment is read by the kubelet, into a variable that nothing expands; the others have to fit a form."""
    problem = refusal(cluster, pod(experiment=text))
    if "\n" in text or len(text) > 250:
        assert "spanbridge.io/experiment must be one line of at most 250 characters" in problem
    else:
        same(cluster, pod(experiment=text), with_sidecar(pod(experiment=text)))
    assert "spanbridge.io/config must be the name of a ConfigMap" in refusal(cluster, pod(config=text))
    assert "spanbridge.io/protocol must be grpc or http/protobuf" in refusal(cluster, pod(protocol=text))
    assert 'spanbridge.io/inject must be "true" or "false"' in refusal(cluster, pod(inject=text))


@pytest.mark.parametrize("text", ["", "True", "yes", " true"])
def test_an_answer_that_is_neither_yes_nor_no_is_refused(cluster, text):
    assert 'spanbridge.io/inject must be "true" or "false", in quotes' in refusal(cluster, pod(inject=text))


def test_the_sidecars_variables_are_those_of_the_chart(cluster):
    """Through CEL and JSON Patch the configuration is still the text that it was."""
    (found,) = admitted(cluster, pod())["spec"]["initContainers"]
    config = yaml.safe_load(environment(found)["SPANBRIDGE_CONFIG"])
    gateway = render({"config": NASTY})
    assert config == yaml.safe_load(only(gateway, "ConfigMap")["data"]["config.yaml"])


def test_only_in_the_namespaces_that_are_selected(cluster):
    assert "initContainers" not in admitted(cluster, pod("disabled"))["spec"]
    assert admitted(cluster, pod("disabled", inject="yes"))
