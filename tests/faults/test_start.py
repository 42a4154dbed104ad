"""A start that can't be: one clear sentence and an exit code, never a traceback and never a second writer."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.paths import ROOT
from tests.servers.program import Ports, Program, configuration

WRONG = 2
MLFLOW = {"tracking_uri": "http://127.0.0.1:9", "experiment": "Default"}
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE = 24, 1


def as_an_ordinary_user() -> None:
    """Without root's right to write where nobody may."""
    if os.geteuid() == 0:
        assert ctypes.CDLL(None, use_errno=True).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0) == 0


def sentence(config: dict, folder: Path) -> str:
    """What a start says that is refused; it has to be one line."""
    path = folder / "refused.yaml"
    path.write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [sys.executable, "-m", "spanbridge", "--config", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        preexec_fn=as_an_ordinary_user,
    )
    assert done.returncode == WRONG, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr
    return line


def test_a_second_bridge_on_the_same_journal(tmp_path):
    ports = Ports()
    with Program(configuration(ports, tmp_path, MLFLOW), tmp_path, ports) as program:
        said = sentence(configuration(Ports(), tmp_path, MLFLOW), tmp_path)
        assert program.ready()
        assert str(tmp_path / "journal") in said
        assert f"process {program.process.pid} has this journal open; stop it" in said


def test_a_journal_of_a_bridge_that_was_killed_is_taken_over(tmp_path):
    ports = Ports()
    with Program(configuration(ports, tmp_path, MLFLOW), tmp_path, ports) as program:
        program.kill()
        program.start()
        assert program.ready()


@pytest.mark.parametrize("there", [True, False], ids=["directory", "parent"])
def test_a_directory_nobody_may_write_to(there, tmp_path):
    config, journal = configuration(Ports(), tmp_path, MLFLOW), tmp_path / "journal"
    closed = journal if there else tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    directory = journal if there else closed / "journal"
    config["extensions"]["file_storage"]["directory"] = str(directory)
    said = sentence(config, tmp_path)
    assert str(directory) in said
    assert "denied" in said.lower() or "read-only" in said.lower() or "write" in said.lower()


def test_a_directory_that_is_a_file(tmp_path):
    (tmp_path / "journal").write_text("")
    said = sentence(configuration(Ports(), tmp_path, MLFLOW), tmp_path)
    assert str(tmp_path / "journal") in said


@pytest.mark.parametrize("port", ["grpc", "http", "metrics", "health"])
def test_a_port_that_is_taken(port, tmp_path):
    ports = Ports()
    with socket.socket() as other:
        other.bind(("127.0.0.1", getattr(ports, port)))
        other.listen()
        said = sentence(configuration(ports, tmp_path, MLFLOW), tmp_path)
    assert str(getattr(ports, port)) in said
