"""`spanbridge up`: everything on one machine under one folder, MLflow's store and UI included."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

UI_PORT = 5000


def store_uri(data: Path) -> str:
    """Where MLflow's tables are."""
    return f"sqlite:///{data.resolve() / 'mlflow.db'}"


def configuration(data: Path) -> str:
    """The built-in configuration, as YAML."""
    return f"""
receivers:
  otlp:
    protocols:
      grpc: {{}}
      http: {{}}
exporters:
  mlflow:
    tracking_uri: {store_uri(data)}
    sending_queue: {{storage: file_storage}}
extensions:
  file_storage: {{directory: {data.resolve() / "journal"}, create_directory: true}}
  health_check: {{}}
service:
  extensions: [file_storage, health_check]
  pipelines:
    traces: {{receivers: [otlp], exporters: [mlflow]}}
"""


def greeting(data: Path, *, ui: bool) -> str:
    """What a person who has just started the program wants to know."""
    lines = [
        "spanbridge is up.",
        "  send OTLP to   localhost:4317 (gRPC)   http://localhost:4318 (HTTP)",
        f"  MLflow UI      {f'http://localhost:{UI_PORT}' if ui else 'off (--no-ui)'}",
        "  metrics        http://localhost:8888/metrics",
        "  health         http://localhost:13133",
        f"  data           {data.resolve()} (MLflow store: mlflow.db, journal: journal/)",
        f"  read it with   mlflow.set_tracking_uri({store_uri(data)!r})",
    ]
    return "\n".join(lines)


@asynccontextmanager
async def mlflow_ui(data: Path) -> AsyncIterator[None]:
    """MLflow's own server on the same store, as a child process; it is told to end when we do."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(UI_PORT)]
    command += ["--backend-store-uri", store_uri(data), "--artifacts-destination", str(data.resolve() / "artifacts")]
    command += ["--workers", "1"]
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with (data / "mlflow-server.log").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=output, env=quiet, start_new_session=True
        )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        await process.wait()
