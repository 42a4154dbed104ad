"""What processes take of the machine, on processes that take a known part of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spanbridge.collector.telemetry import processes
from spanbridge.collector.telemetry.processes import cpu_seconds, resident_memory


@pytest.fixture(params=["with /proc", "without /proc"])
def system(request, monkeypatch, tmp_path):
    """Linux, and a system that has no /proc."""
    if request.param == "without /proc":
        monkeypatch.setattr(processes, "_SELF", tmp_path / "self")


@pytest.mark.usefixtures("system")
def test_resident_memory_is_that_of_this_process():
    assert 1 << 20 < resident_memory() < 1 << 34


HOLDING = "import os; held = os.urandom(64 << 20); os.write(1, b'x'); os.read(0, 1)"


@pytest.mark.usefixtures("system")
def test_what_this_process_has_started_counts():
    alone = resident_memory()
    with subprocess.Popen([sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        assert child.stdout.read(1) == b"x"
        assert resident_memory() - alone > 48 << 20
        child.stdin.close()


FORKED = """
import os
held = os.urandom(64 << 20)
if os.fork() == 0:
    if os.fork() == 0:
        own = os.urandom(32 << 20)
    os.write(1, b"x")
os.read(0, 1)
"""


@pytest.mark.skipif(not Path("/proc").exists(), reason="there is no /proc that would tell")
def test_what_processes_share_is_counted_once():
    with subprocess.Popen([sys.executable, "-c", FORKED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdin
        assert first.stdout
        assert first.stdout.read(2) == b"xx"
        size = resident_memory(Path(f"/proc/{first.pid}")) >> 20
        first.stdin.close()
    assert 96 <= size < 96 + 60


BUSY = """
import os, time
if os.fork() == 0:
    while time.process_time() < 1.5:
        pass
    os.write(1, b"x")
os.read(0, 1)
"""


@pytest.mark.usefixtures("system")
def test_the_time_of_processes_that_run_and_of_those_that_have_ended_counts():
    before = cpu_seconds()
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdin
        assert first.stdout
        assert first.stdout.read(1) == b"x"
        assert cpu_seconds() - before > 1.4
        first.stdin.close()
