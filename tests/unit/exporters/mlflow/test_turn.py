"""One at a time has the turn, whichever process or thread it is, and one that is killed does not keep it."""

from __future__ import annotations

import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spanbridge.collector.exporters.mlflow.database.turn import Turn

DIVIDED = """
import os, signal, sys, threading
from spanbridge.collector.exporters.mlflow.database.turn import Turn

turn = Turn()
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    with turn:
        os.write(writing, b"x")
        signal.pause()
os.read(reading, 1)

def take():
    with turn:
        print("taken")

waiting = threading.Thread(target=take)
waiting.start()
waiting.join(0.2)
print("waits" if waiting.is_alive() else "does not wait")
os.kill(child, signal.SIGKILL)
waiting.join(30)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no process divides there")
def test_a_process_waits_for_another_until_that_lets_go_or_dies():
    done = subprocess.run([sys.executable, "-c", DIVIDED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split("\n"), done.stderr) == (["waits", "taken", ""], "")


def test_threads_take_turns():
    turn, inside, most = Turn(), [], []

    def take(number: int) -> None:
        with turn:
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(take, range(1000)))
    assert set(most) == {1}


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc to look at, and no descriptor")
def test_it_leaves_no_descriptor_behind():
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    for _ in range(100):
        with Turn():
            pass
    gc.collect()
    assert open_files() <= before
