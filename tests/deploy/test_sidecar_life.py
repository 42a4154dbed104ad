"""The life of a sidecar, as processes: what was acknowledged is in MLflow whatever ends first."""

from __future__ import annotations

import pytest

from tests.deploy.support.pod import Pod
from tests.polling import until_sync
from tests.samples.reading import traces
from tests.servers.mlflow_servers import mlflow_server
from tests.servers.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as uri:
        yield uri


def delivered(uri, experiment):
    """Trace ids that MLflow has whole: both spans."""
    found = traces(uri, experiment)
    return {trace.info.trace_id.removeprefix("tr-") for trace in found if len(trace.data.spans) == 2}


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_pod_ends_with_spans_in_flight(mlflow, tmp_path, protocol):
    """SIGTERM to the application, whose SDK sends what it has, then to the sidecar, within one grace period."""
    experiment = f"deleted {protocol}"
    with Pod(tmp_path, mlflow, experiment).running() as pod:
        pod.run_application(30, protocol, wait=True)
        assert pod.delete() < pod.grace
    assert len(pod.traces) == 30
    assert delivered(mlflow, experiment) == pod.traces


def test_the_application_ends_and_is_started_again(mlflow, tmp_path):
    with Pod(tmp_path, mlflow, "restarted application").running() as pod:
        pod.run_application(50)
        pod.run_application(50)
        pod.delete()
    assert len(pod.traces) == 100
    assert delivered(mlflow, "restarted application") == pod.traces


@pytest.mark.parametrize("end", ["delete", "kill_sidecar"])
def test_the_sidecar_is_started_again_with_its_journal(tmp_path, end):
    """MLflow is away from before the start until after it: the probes are content, nothing is lost."""
    port = free_port()
    with Pod(tmp_path, f"http://127.0.0.1:{port}", "restarted sidecar").running() as pod:
        assert pod.probe("readinessProbe")
        assert pod.probe("livenessProbe")
        pod.run_application(50)
        getattr(pod, end)()
        pod.start_sidecar()
        pod.run_application(50)
        assert pod.probe("readinessProbe")
        with mlflow_server(tmp_path, port=port) as uri:
            until_sync(lambda: len(delivered(uri, "restarted sidecar")) == 100, seconds=60, what="all traces")
            assert delivered(uri, "restarted sidecar") == pod.traces
            pod.delete()


def test_a_drain_that_can_not_succeed_ends_in_time(tmp_path):
    """MLflow does not come back: the sidecar keeps its journal and leaves before it is killed."""
    with Pod(tmp_path, f"http://127.0.0.1:{free_port()}").running() as pod:
        pod.run_application(10)
        assert pod.delete() < pod.grace
        assert "stay in the journal" in pod.log()
