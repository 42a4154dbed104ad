"""The program as a process, for acceptance tests: start, ask, stop, kill.

SPANBRIDGE_TEST_PYTHON names the interpreter that runs it, in whose environment an installed distribution is tried; by
default it is that of the tests, and the program the one of the working tree.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import urllib3
import yaml

from spanbridge.collector.telemetry.processes import resident_memory
from tests.paths import ROOT
from tests.polling import until_sync
from tests.servers.ports import free_port

POOL = urllib3.PoolManager(retries=False, timeout=5)


@dataclass
class Ports:
    grpc: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)
    metrics: int = field(default_factory=free_port)
    health: int = field(default_factory=free_port)


def configuration(
    ports: Ports, data: Path, mlflow: dict, *, processors: dict | None = None, logs: bool = False
) -> dict:
    """A whole configuration with the journal on disk; `processors` by id, in the order of the pipeline."""
    pipeline = {"receivers": ["otlp"], "processors": list(processors or {}), "exporters": ["mlflow"]}
    pipelines = {"traces": pipeline}
    if logs:
        pipelines["logs"] = {"receivers": ["otlp"], "exporters": ["mlflow"]}
    retry = {"initial_interval": "100ms", "max_interval": "1s"}
    return {
        "receivers": {
            "otlp": {
                "protocols": {
                    "grpc": {"endpoint": f"127.0.0.1:{ports.grpc}"},
                    "http": {"endpoint": f"127.0.0.1:{ports.http}"},
                }
            }
        },
        "processors": processors or {},
        "exporters": {
            "mlflow": {"retry_on_failure": retry, "sending_queue": {"storage": "file_storage"}, **mlflow},
        },
        "extensions": {
            "file_storage": {"directory": str(data / "journal"), "create_directory": True},
            "health_check": {"endpoint": f"127.0.0.1:{ports.health}"},
        },
        "service": {
            "extensions": ["file_storage", "health_check"],
            "pipelines": pipelines,
            "telemetry": {"metrics": {"address": f"127.0.0.1:{ports.metrics}"}},
        },
    }


class Program:
    """`spanbridge --config F` under a configuration; a context manager that ends it."""

    module = "spanbridge"

    def __init__(self, config: dict, folder: Path, ports: Ports, **env: str) -> None:
        self.ports = ports
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))
        self.log = folder / "program.log"
        self.python = os.environ.get("SPANBRIDGE_TEST_PYTHON")
        self.env = {**os.environ, **env}
        if self.python:
            self.env.pop("PYTHONPATH", None)  # it would bring the working tree back
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.kill()

    def start(self, seconds: float = 30) -> None:
        """Start it and wait until it is ready."""
        self.spawn()
        until_sync(self.ready, seconds, what=f"readiness; log:\n{self.tail()}")

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it."""
        command = [self.python or sys.executable, "-m", self.module, "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self.env, cwd=ROOT)
        return self.process

    def ready(self) -> bool:
        assert self.process
        assert self.process.poll() is None, f"the program ended:\n{self.tail()}"
        try:
            return POOL.request("GET", f"http://127.0.0.1:{self.ports.health}/").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def kill(self) -> None:
        """End it without a chance to do anything."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 60) -> int:
        """Ask it to end and wait; the exit code."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics by name and labels, as written there."""
        text = POOL.request("GET", f"http://127.0.0.1:{self.ports.metrics}/metrics").data.decode()
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    def metric(self, prefix: str) -> float:
        """The sum of all samples whose name and labels begin with `prefix`."""
        return sum(value for name, value in self.metrics().items() if name.startswith(prefix))

    def rss(self) -> int:
        """Resident bytes, with those of all it has started; what they share is counted once."""
        assert self.process
        return resident_memory(Path(f"/proc/{self.process.pid}"))

    def descriptors(self) -> int:
        """Open files and connections."""
        assert self.process
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def threads(self) -> int:
        """Threads, those of libraries too."""
        assert self.process
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""
