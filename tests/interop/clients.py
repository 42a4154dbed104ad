"""The client programs, run as their users would run them: told where to send by the standard environment alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.interop.recorded import Json
from tests.program import Ports

FOLDER = Path(__file__).parent
PATIENCE = 60
VERSION = "2026.11.20"
NODE_PACKAGES = FOLDER / "node" / "node_modules" / ".package-lock.json"


@dataclass(frozen=True)
class Client:
    """A program, and how it speaks: the value of OTEL_EXPORTER_OTLP_PROTOCOL."""

    name: str
    command: tuple[str, ...]
    protocol: str

    def run(self, ports: Ports) -> list[Json]:
        """Run it to its end against a bridge; returns what it recorded."""
        port = ports.grpc if self.protocol == "grpc" else ports.http
        environment: Mapping[str, str] = {
            **{key: value for key, value in os.environ.items() if not key.startswith("OTEL_")},
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol,
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_SERVICE_NAME": self.name,
            "OTEL_RESOURCE_ATTRIBUTES": f"service.version={VERSION},deployment.environment.name=interop,a.team=unseen",
        }
        done = subprocess.run(
            self.command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", done.stderr
        return json.loads(done.stdout)


def _python(protocol: str) -> Client:
    return Client(f"python {protocol}", (sys.executable, str(FOLDER / "python" / "client.py")), protocol)


CLIENTS = {
    client.name: client
    for client in (
        _python("grpc"),
        _python("http/protobuf"),
        Client("node http/json", ("node", str(FOLDER / "node" / "client.mjs")), "http/json"),
    )
}


def missing(client: Client) -> str:
    """Why this machine can't run a client; empty if it can. What can be fetched is fetched."""
    if client.command[0] != "node":
        return ""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return "node and npm are not installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").partition(".")[0]) < 20:
        return f"node is {version.strip()}, and the SDK needs 20"
    _install(npm)
    return ""


def _install(npm: str) -> None:
    """npm writes NODE_PACKAGES at the end of an installation."""
    manifest = FOLDER / "node" / "package.json"
    if NODE_PACKAGES.exists() and NODE_PACKAGES.stat().st_mtime >= manifest.stat().st_mtime:
        return
    command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock"]
    done = subprocess.run(command, cwd=manifest.parent, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
