"""A pod as processes: the sidecar that the chart renders, and an application beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3

from tests.deploy.support.chart import application, environment, pod_spec, render
from tests.deploy.support.tools import ROOT
from tests.polling import until_sync
from tests.servers.program import POOL, Ports

_HOST = "${env:SPANBRIDGE_HOST:-localhost}"


class Pod:
    """The sidecar's container as the kubelet would run it, with its journal in `folder`; `traces` are the ids made."""

    def __init__(self, folder: Path, tracking_uri: str, experiment: str = "") -> None:
        self.ports, self.traces = Ports(), set[str]()
        spec = pod_spec(render({"spanbridge": _values(folder, self.ports, tracking_uri)}, chart=application(folder)))
        (self._container,) = spec["initContainers"]
        self.grace = spec.get("terminationGracePeriodSeconds", 30)
        self._experiment = experiment
        self._log = folder / "sidecar.log"
        self._folder = folder
        self.sidecar: subprocess.Popen[bytes] | None = None
        self.application: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator[Pod]:
        """The pod with its sidecar started; whatever still runs at the end is killed."""
        try:
            self.start_sidecar()
            yield self
        finally:
            for process in (self.application, self.sidecar):
                if process and process.poll() is None:
                    process.kill()
                    process.wait()

    def start_sidecar(self) -> None:
        """Start it and wait for its startup probe: applications start after it."""
        probe = self._container["startupProbe"]
        seconds = probe["periodSeconds"] * probe["failureThreshold"]
        command = [sys.executable, "-m", "spanbridge", *self._container["args"]]
        variables = environment(self._container) | {"MLFLOW_EXPERIMENT_NAME": self._experiment}
        with self._log.open("ab") as log:
            env = {**os.environ, **variables}
            self.sidecar = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        until_sync(lambda: self.probe("startupProbe"), seconds, what="the startup probe")

    def probe(self, name: str) -> bool:
        """What the kubelet would find."""
        assert self.sidecar
        assert self.sidecar.poll() is None, self.log()
        try:
            path = self._container[name]["httpGet"]["path"]
            return POOL.request("GET", f"http://127.0.0.1:{self.ports.health}{path}").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def run_application(self, count: int, protocol: str = "http/protobuf", *, wait: bool = False) -> None:
        """Run it until it has made `count` traces, or, unless it waits for SIGTERM, to its end."""
        port = self.ports.grpc if protocol == "grpc" else self.ports.http
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://localhost:{port}", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        command = [
            sys.executable,
            "-m",
            "tests.deploy.support.traced_application",
            str(count),
            *(["--wait"] if wait else []),
        ]
        said = self._folder / "application.txt"
        with said.open("wb") as output:
            self.application = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env}, stdout=output)
        until_sync(lambda: said.read_text().count("\n") == count, what="the application's traces")
        self.traces |= set(said.read_text().split())
        if not wait:
            assert self.application.wait(60) == 0

    def delete(self) -> float:
        """End it as the kubelet does: the application first, then the sidecar; seconds it took."""
        began = time.monotonic()
        for process in (self.application, self.sidecar):
            if process and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(max(0.1, self.grace - (time.monotonic() - began)))
        assert self.sidecar
        assert self.sidecar.returncode == 0, self.log()
        return time.monotonic() - began

    def kill_sidecar(self) -> None:
        """As when its memory runs out."""
        assert self.sidecar
        self.sidecar.kill()
        self.sidecar.wait()

    def log(self) -> str:
        """What the sidecar wrote."""
        return self._log.read_text()


def _values(folder: Path, ports: Ports, tracking_uri: str) -> dict[str, Any]:
    """Values that change nothing but where things are, and how soon a send is tried again."""
    reader = {"host": "127.0.0.1", "port": ports.metrics}
    retry = {"initial_interval": "100ms", "max_interval": "1s"}
    return {
        "journal": {"mountPath": str(folder / "volume")},
        "config": {
            "receivers": {
                "otlp": {
                    "protocols": {
                        "grpc": {"endpoint": f"{_HOST}:{ports.grpc}"},
                        "http": {"endpoint": f"{_HOST}:{ports.http}"},
                    }
                }
            },
            "exporters": {"mlflow": {"tracking_uri": tracking_uri, "retry_on_failure": retry}},
            "extensions": {
                "file_storage": {"directory": str(folder / "volume/journal")},
                "health_check": {"endpoint": f"{_HOST}:{ports.health}"},
            },
            "service": {"telemetry": {"metrics": {"readers": [{"pull": {"exporter": {"prometheus": reader}}}]}}},
        },
    }
