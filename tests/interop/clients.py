"""The client programs, run as their users would run them: told where to send by the standard environment alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.interop.recorded import Json
from tests.servers.program import Ports

FOLDER = Path(__file__).parent
PATIENCE = 60
VERSION = "2026.11.20"


@dataclass(frozen=True)
class Making:
    """How a program is made ready to run: a command in its folder, which makes `product` out of `sources`."""

    folder: Path
    command: tuple[str, ...]
    sources: tuple[str, ...]
    product: str

    def make(self) -> None:
        """Make it unless that has been done. It may have to fetch packages."""
        product, sources = self.folder / self.product, [self.folder / source for source in self.sources]
        if product.exists() and all(product.stat().st_mtime >= source.stat().st_mtime for source in sources):
            return
        done = subprocess.run(self.command, cwd=self.folder, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        product.touch()


@dataclass(frozen=True)
class Client:
    """A program and how it speaks; its name is a language and a value of OTEL_EXPORTER_OTLP_PROTOCOL."""

    name: str
    command: tuple[str, ...]
    making: Making | None = None

    @property
    def protocol(self) -> str:
        return self.name.split()[1]

    def missing(self) -> str:
        """The first program that has to be installed to run it, or nothing."""
        needed = (self.command[0], self.making.command[0]) if self.making else ()
        return next(
            (program for program in needed if not Path(program).is_absolute() and not shutil.which(program)), ""
        )

    def make(self) -> None:
        """Make it ready to run."""
        if self.making:
            self.making.make()

    def run(self, ports: Ports) -> list[Json]:
        """Run it to its end against a bridge; returns what it recorded."""
        port = ports.grpc if self.protocol == "grpc" else ports.http
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("OTEL_")},
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol,
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_SERVICE_NAME": self.name,
            "OTEL_RESOURCE_ATTRIBUTES": f"service.version={VERSION},deployment.environment.name=interop,a.team=unseen",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
        }
        done = subprocess.run(
            self.command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return json.loads(done.stdout)


NODE = Making(
    folder=FOLDER / "node",
    command=("npm", "install", "--no-audit", "--no-fund", "--no-package-lock"),
    sources=("package.json",),
    product="node_modules/.package-lock.json",
)
GO = Making(
    folder=FOLDER / "go",
    command=("go", "build", "-o", "build/client", "."),
    sources=("main.go", "go.mod"),
    product="build/client",
)
JAVA = Making(
    folder=FOLDER / "java",
    command=("mvn", "--quiet", "--batch-mode", "compile"),
    sources=("pom.xml", "src/main/java/Client.java"),
    product="build/classes/Client.class",
)


def _clients(
    language: str, protocols: str, command: tuple[str, ...], making: Making | None = None
) -> dict[str, Client]:
    return {f"{language} {each}": Client(f"{language} {each}", command, making) for each in protocols.split()}


QUICK = {
    **_clients("python", "grpc http/protobuf", (sys.executable, str(FOLDER / "python" / "client.py"))),
    **_clients("node", "http/json", ("node", str(NODE.folder / "client.mjs")), NODE),
}
COMPILED = {
    **_clients("go", "grpc http/protobuf", (str(GO.folder / GO.product),), GO),
    **_clients(
        "java",
        "grpc http/protobuf",
        ("java", "-cp", f"{JAVA.folder}/build/classes:{JAVA.folder}/build/lib/*", "Client"),
        JAVA,
    ),
}
CLIENTS = {**QUICK, **COMPILED}
