"""deploy/compose.yaml: valid by the Compose Specification, and its bridge and its MLflow started as it says."""

from __future__ import annotations

import contextlib
import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3
import yaml

from spanbridge.collector.config.loading import load
from tests.deploy.support.gateway import gateway
from tests.deploy.support.tools import ROOT, run
from tests.polling import until_sync
from tests.samples.sender import Sender
from tests.samples.spans import trace_batch
from tests.servers.mlflow_servers import QUIET, postgres, postgres_bin
from tests.servers.ports import free_port
from tests.servers.program import POOL, Ports

FOLDER = ROOT / "deploy"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
BRIDGE = yaml.safe_load((FOLDER / "compose/bridge.yaml").read_text())


def test_valid_by_the_compose_specification():
    model = yaml.safe_load(run("compose-go", "compose.yaml", cwd=FOLDER))
    assert set(model["services"]) == {"bridge", "mlflow", "postgres", "prometheus", "grafana"}


def test_files_that_are_mounted_are_there():
    mounts = [mount.split(":")[0] for service in COMPOSE["services"].values() for mount in service.get("volumes", ())]
    paths = [mount for mount in mounts if mount.startswith(".")]
    assert paths
    assert [path for path in paths if not (FOLDER / path).exists()] == []


def test_nothing_is_open_to_other_machines():
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_prometheus_configuration():
    run("promtool", "check", "config", "--syntax-only", FOLDER / "compose/prometheus.yaml")


def test_bridge_configuration():
    uri = COMPOSE["services"]["bridge"]["environment"]["MLFLOW_TRACKING_URI"]
    config = load([str(FOLDER / "compose/bridge.yaml")], env={"MLFLOW_TRACKING_URI": uri})
    assert config.warnings == ()
    grace = COMPOSE["services"]["bridge"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > config.service.shutdown_timeout


@contextlib.contextmanager
def mlflow_of_compose(folder: Path, database: str):
    """The MLflow server with the command line and the environment it has in the file; yields its address."""
    service = COMPOSE["services"]["mlflow"]
    port = str(free_port())

    def here(text):
        return text.replace("/var/lib/spanbridge", str(folder)).replace("5000", port).replace("0.0.0.0", "127.0.0.1")

    env = {key: here(value) for key, value in service["environment"].items()}
    env["MLFLOW_BACKEND_STORE_URI"] = re.sub(r"^postgresql:.*", database, env["MLFLOW_BACKEND_STORE_URI"])
    command = [sys.executable, "-m", *service["entrypoint"], *map(here, service["command"])]
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **QUIET, **env}, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    uri = f"http://localhost:{port}"

    def healthy():
        assert process.poll() is None, (folder / "mlflow.log").read_text()[-3000:]
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            return POOL.request("GET", f"{uri}/health").status == 200
        return False

    try:
        until_sync(healthy, seconds=120, what="MLflow")
        yield uri
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def here(config, ports, folder):
    """The configuration with its sockets on the loopback and its journal in a folder."""
    config = copy.deepcopy(config)
    protocols = config["receivers"]["otlp"]["protocols"]
    protocols["grpc"]["endpoint"] = f"127.0.0.1:{ports.grpc}"
    protocols["http"]["endpoint"] = f"127.0.0.1:{ports.http}"
    config["extensions"]["health_check"]["endpoint"] = f"127.0.0.1:{ports.health}"
    config["extensions"]["file_storage"]["directory"] = str(folder / "journal")
    reader = config["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"]
    reader |= {"host": "127.0.0.1", "port": ports.metrics}
    return config


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_from_the_bridge_through_mlflow_into_postgresql(tmp_path):
    if postgres_bin() is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres() as database, mlflow_of_compose(tmp_path, database) as uri:
        ports = Ports()
        config = here(BRIDGE, ports, tmp_path)
        with gateway(config, tmp_path, ports, {"MLFLOW_TRACKING_URI": uri}) as program:
            Sender(ports.grpc).send_all([trace_batch(size=3, service="shop")])
            until_sync(lambda: program.metric("otelcol_exporter_sent_spans") == 3, what="the trace in MLflow")
        found = POOL.request("GET", f"{uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name=shop").json()
        assert found["experiment"]["name"] == "shop"
