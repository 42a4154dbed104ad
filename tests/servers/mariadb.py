"""A throwaway MariaDB server for tests, on a unix socket, gone at the end: MySQL's protocol and SQL, free to install.

Import `fixture_mariadb` to have the fixture `mariadb`. Tests that use it are skipped where MariaDB is not installed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import pymysql
import pytest

from tests.polling import until_sync

NewDatabase: TypeAlias = Callable[[str], str]
"""Makes an empty database of a name; its URI for SQLAlchemy."""


@contextmanager
def server() -> Iterator[NewDatabase]:
    """Start a server. Raises FileNotFoundError where MariaDB is not installed."""
    install, daemon = _tool("mariadb-install-db"), _tool("mariadbd")
    user = "mysql" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    directory = Path(tempfile.mkdtemp(prefix="maria-"))  # a socket's path has to be short: hence not below tmp_path
    path, data = directory / "socket", directory / "data"
    try:
        shutil.chown(directory, user)
        options = ["--no-defaults", f"--datadir={data}", f"--user={user}"]
        subprocess.run(
            [install, *options, "--auth-root-authentication-method=normal"],
            check=True,
            capture_output=True,
        )
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [daemon, *options, f"--socket={path}", "--skip-networking", "--character-set-server=utf8mb4"],
                stdout=log,
                stderr=log,
            )
        try:
            until_sync(lambda: _answers(path), what="MariaDB")
            yield lambda name: _created(path, name)
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session", name="mariadb")
def fixture_mariadb() -> Iterator[NewDatabase]:
    """A server for the whole test session."""
    try:
        with server() as new_database:
            yield new_database
    except FileNotFoundError as error:
        pytest.skip(f"MariaDB is not installed: {error}")


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _created(path: Path, name: str) -> str:
    with pymysql.connect(unix_socket=str(path), user="root") as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE `{name}`")
    return f"mysql+pymysql://root@localhost/{name}?unix_socket={path}"


def _tool(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/local/bin")
    if path is None:
        raise FileNotFoundError(name)
    return path
