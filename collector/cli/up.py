"""`spanbridge up`: everything on one machine under one folder, MLflow's store and UI included."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path

UI_PORT = 5000


def main(arguments: Sequence[str]) -> int:
    """Start everything: `spanbridge up`. Does not return once it runs.

    Raises:
        ConfigError: an override is wrong, a port is taken, or a journal is in use.
    """
    parser = argparse.ArgumentParser(
        prog="spanbridge up", description="Start with a built-in configuration: OTLP in, SQLite MLflow store, UI."
    )
    parser.add_argument("--data", type=Path, default=Path("spanbridge-data"), help="folder of everything that is kept")
    parser.add_argument("--no-ui", action="store_true", help="do not start MLflow's server beside the bridge")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="override one value")
    options = parser.parse_args(arguments)
    options.data.mkdir(parents=True, exist_ok=True)

    from spanbridge.collector.config.loading import load
    from spanbridge.collector.service.run import run

    config = load([f"yaml:{configuration(options.data)}"], options.set, env=os.environ)
    beside = nullcontext() if options.no_ui else mlflow_ui(options.data)
    run(config, beside=beside, greeting=greeting(options.data, ui=not options.no_ui))
    return 0


def store_uri(data: Path) -> str:
    """Return the URI of MLflow's tables in the data folder."""
    return f"sqlite:///{data.resolve() / 'mlflow.db'}"


def configuration(data: Path) -> str:
    """Return the built-in configuration for a data folder, as YAML."""
    return f"""
receivers:
  otlp:
    protocols:
      grpc: {{}}
      http: {{}}
processors:
  span_metrics: {{}}
  genai: {{}}
  groupbytrace: {{}}
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
    traces: {{receivers: [otlp], processors: [span_metrics, genai, groupbytrace], exporters: [mlflow]}}
    logs: {{receivers: [otlp], exporters: [mlflow]}}
"""


def greeting(data: Path, *, ui: bool) -> str:
    """Return what a person who has just started the program wants to know."""
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


def ui_command(data: Path) -> list[str]:
    """Return the command line of MLflow's own server on the same store."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(UI_PORT)]
    command += ["--backend-store-uri", store_uri(data), "--artifacts-destination", str(data.resolve() / "artifacts")]
    return [*command, "--workers", "1"]


@asynccontextmanager
async def mlflow_ui(data: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run MLflow's server as a child process while the context lasts; yields the process."""
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    output = os.open(data / "mlflow-server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    process = await asyncio.create_subprocess_exec(
        *ui_command(data), stdout=output, stderr=output, env=quiet, start_new_session=True
    )
    os.close(output)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()
