"""A throwaway PostgreSQL cluster for tests, on a unix socket, gone at the end.

Import `fixture_postgres` into a conftest.py to have the fixture `postgres`. Tests that use it are skipped where
PostgreSQL is not installed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

_PLACES = ("/usr/local/bin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)))


class Cluster:
    """A running cluster; makes databases in it."""

    def __init__(self, directory: Path, psql: str, user: str | None) -> None:
        self._directory = directory
        self._psql = psql
        self._user = user

    @property
    def version(self) -> int:
        """The major version."""
        said = subprocess.run([self._psql, "--version"], check=True, capture_output=True, text=True).stdout
        return int(said.removeprefix("psql (PostgreSQL) ").partition(".")[0])

    def database(self, name: str, template: str = "template0") -> str:
        """Create a database, as a copy of `template`; return its URI."""
        self.run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.uri(name)

    def uri(self, name: str, role: str = "postgres") -> str:
        """SQLAlchemy's URI of a database, without a driver's name."""
        return f"postgresql://{role}@/{name}?host={self._directory}"

    def let_in(self, role: str, uri: str) -> str:
        """Let a role write to all tables that the database of a URI has now; the URI by which it does."""
        database = str(make_url(uri).database)
        for what in ("TABLES", "SEQUENCES"):
            self.run(f"GRANT ALL ON ALL {what} IN SCHEMA public TO {role}", database)
        return self.uri(database, role)

    def run(self, statement: str, database: str = "postgres") -> None:
        """Run one statement."""
        command = [self._psql, "-h", str(self._directory), "-U", "postgres", "-X", "-q", "-v", "ON_ERROR_STOP=1"]
        _run([*command, "-d", database, "-c", statement], self._user)


@contextmanager
def cluster(*settings: str) -> Iterator[Cluster]:
    """Start a cluster; `settings` are "name=value". Raises FileNotFoundError where PostgreSQL is not installed."""
    tools = {name: _tool(name) for name in ("initdb", "pg_ctl", "psql")}
    # PostgreSQL does not run as root, and a socket's path has to be short: hence not below tmp_path.
    user = "postgres" if os.geteuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        if user:
            os.chown(directory, pwd.getpwnam(user).pw_uid, -1)
        data = str(directory / "data")
        _run([tools["initdb"], "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"], user)
        options = " ".join(f"-c {setting}" for setting in (f"unix_socket_directories={directory}", *settings))
        start = [tools["pg_ctl"], "-D", data, "-l", str(directory / "log"), "-w", "-s"]
        _run([*start, "-o", f"-c listen_addresses= {options}", "start"], user)
        try:
            yield Cluster(directory, tools["psql"], user)
        finally:
            _run([tools["pg_ctl"], "-D", data, "-m", "immediate", "-w", "-s", "stop"], user)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session", name="postgres")
def fixture_postgres() -> Iterator[Cluster]:
    """A cluster for the whole test session; does not wait for the disk."""
    try:
        with cluster("fsync=off", "max_connections=50", "deadlock_timeout=200ms") as running:
            yield running
    except FileNotFoundError as error:
        pytest.skip(f"PostgreSQL is not installed: {error}")


def _tool(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path=os.pathsep.join(_PLACES))
    if path is None:
        raise FileNotFoundError(name)
    return path


def _run(command: list[str], user: str | None) -> None:
    done = subprocess.run(command, user=user, capture_output=True, text=True, cwd="/", check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr or done.stdout}")
