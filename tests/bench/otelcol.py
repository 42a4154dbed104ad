"""An OpenTelemetry Collector (otlp -> batch -> otlphttp) in front of a tracking server, if the machine has one.

`OTELCOL` is the path of a binary with the otlp receiver, the batch processor and the otlphttp exporter, as each of the
project's distributions has.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.polling import until_sync
from tests.servers.ports import free_port

BINARY = os.environ.get("OTELCOL", "")


def configuration(port: int, server: str, experiment_id: str) -> dict:
    """Everything as it comes but for the batch's size, which is the one that all ways get; answers may take a while."""
    exporter = {
        "endpoint": server,
        "headers": {"x-mlflow-experiment-id": experiment_id},
        "timeout": "120s",
    }
    return {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}"}}}},
        "processors": {"batch": {"send_batch_size": 512, "send_batch_max_size": 512}},
        "exporters": {"otlphttp": exporter},
        "service": {
            "pipelines": {"traces": {"receivers": ["otlp"], "processors": ["batch"], "exporters": ["otlphttp"]}},
            "telemetry": {"metrics": {"level": "none"}},
        },
    }


@contextmanager
def collector(server: str, experiment_id: str) -> Iterator[int]:
    """The Collector as a process; its gRPC port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(yaml.safe_dump(configuration(port, server, experiment_id)))
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen([BINARY, "--config", str(config)], stdout=log, stderr=log)
        try:
            until_sync(lambda: _listens(port, process, Path(folder, "log")), what="the Collector")
            yield port
        finally:
            process.terminate()
            process.wait()


def _listens(port: int, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, f"the Collector ended:\n{log.read_text(errors='replace')[-2000:]}"
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
