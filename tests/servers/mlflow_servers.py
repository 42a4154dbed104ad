"""Real MLflow servers and databases for tests: on loopback, on free ports, in a folder the test owns."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.servers.ports import free_port

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a dozen processes that no test asks anything of
}
_PATIENCE = 60.0


@contextlib.contextmanager
def mlflow_server(
    folder: Path, *options: str, port: int | None = None, prefix: str = "", env: Mapping[str, str] | None = None
) -> Iterator[str]:
    """A running `mlflow server` with SQLite in `folder`, under a static prefix if given; yields its address."""
    port = port or free_port()
    database = f"sqlite:///{folder / 'mlflow.db'}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", database, "--artifacts-destination", str(folder / "artifacts"), *options]
    command += ["--static-prefix", prefix] if prefix else []
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **QUIET, **(env or {})},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}{prefix}"
        _until_healthy(address, process, folder / "server.log")
        yield address
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server with the workers it started, which share its process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _until_healthy(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=2):
            return
        time.sleep(0.1)
    raise RuntimeError(f"mlflow server did not start:\n{log.read_text()[-2000:]}")


def postgres_bin() -> Path | None:
    """The folder of PostgreSQL's own programs (initdb, pg_ctl), or None."""
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/local/bin")]
    found = shutil.which("initdb")
    folders += [Path(found).parent] if found else []
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A throwaway PostgreSQL; yields a database URI. Needs `postgres_bin`.

    It refuses to run as root, so a test run by root has the user `postgres` run it, in a folder of its own: pytest
    closes its folders to other users whenever another run of it begins.
    """
    programs = postgres_bin()
    assert programs, "look at postgres_bin() first"
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="spanbridge-postgres-") as folder:
        who: dict[str, int] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            who = {"user": user.pw_uid, "group": user.pw_gid}

        def run(program: str, *arguments: str) -> None:
            command = [programs / program, "-D", f"{folder}/data", *arguments]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, env={"LC_ALL": "C.UTF-8"}, **who)

        run("initdb", "-A", "trust", "-U", "mlflow", "-E", "UTF8", "--no-sync")
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "-l", f"{folder}/postgres.log", "-o", settings, "-w", "start")
        try:
            yield f"postgresql://mlflow@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-m", "immediate", "-w", "stop")
