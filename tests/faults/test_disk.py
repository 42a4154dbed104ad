"""The journal's disk is slow, or full: OK waits, the door stays bounded, and what was acknowledged is delivered."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time

import grpc
import pytest

from spanbridge.processors.attributes import put
from spanbridge.processors.types import spans
from tests.faults.support.misbehaving import Misbehaving
from tests.faults.support.slow_disk import DELAY
from tests.polling import until_sync
from tests.samples.sender import Sender
from tests.samples.spans import trace_batch
from tests.servers.ports import free_port
from tests.servers.program import POOL, Ports, Program, configuration

MIB = 1 << 20
ROOM = 4 * MIB
"""Of requests under way, with a size limit of 1 MiB."""


class OnSlowDisk(Program):
    module = "tests.faults.support.slow_disk"


def nothing(*_: object) -> None:
    """Behave."""


def heavy(size: int):
    """A trace of one span of so many bytes."""
    batch = trace_batch(size=1)
    put(next(spans(batch)).attributes, "text", "x" * size)
    return batch


def delivered(server: Misbehaving) -> set[tuple[str, str]]:
    return {(trace_id.hex(), span_id.hex()) for trace_id, span_id in server.downstream.taken}


def test_a_slow_disk(tmp_path):
    ports, server = Ports(), Misbehaving(nothing, times=0)
    with server.running() as address:
        config = configuration(ports, tmp_path, {"tracking_uri": address, "experiment": "Default"})
        config["receivers"]["otlp"]["protocols"]["grpc"]["max_recv_msg_size_mib"] = 1
        with OnSlowDisk(config, tmp_path, ports) as program:
            started = time.monotonic()
            first = Sender(ports.grpc)
            first.send_all([trace_batch()])
            assert time.monotonic() - started >= DELAY, "OK did not wait for the disk"

            crowd = [Sender(ports.grpc) for _ in range(8)]
            sending = [
                threading.Thread(target=sender.send_all, args=([heavy(MIB - 10_000) for _ in range(4)],))
                for sender in crowd
            ]
            before = program.rss()
            for thread in sending:
                thread.start()
            longest = largest = 0.0
            while any(thread.is_alive() for thread in sending):
                asked = time.monotonic()
                assert POOL.request("GET", f"http://127.0.0.1:{ports.health}/").status == 200
                longest = max(longest, time.monotonic() - asked)
                largest = max(largest, program.rss())
                time.sleep(0.05)  # between two looks
            refused = {code for sender in crowd for code in sender.refused}
            acknowledged = first.acknowledged.union(*(sender.acknowledged for sender in crowd))
            print(
                f"\n{len(acknowledged)} spans, {sum(len(sender.refused) for sender in crowd)} refusals, health within "
                f"{longest:.2f} s, RSS + {(largest - before) / MIB:.0f} MiB"
            )
            assert len(acknowledged) == 3 + 8 * 4
            assert refused == {grpc.StatusCode.UNAVAILABLE}, "32 MiB in a room of 4 were never refused, or for good"
            assert longest < DELAY
            assert largest - before < 128 * MIB, "32 messages of 1 MiB at once take 2 each"
            until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, what="an empty journal")
            assert delivered(server) == acknowledged
            assert "Traceback" not in program.tail()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of 64 MiB, of which the journal leaves 48 free."""
    folder = tmp_path / "journal"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "spanbridge-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system can't be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk, tmp_path):
    ports, port = Ports(), free_port()
    config = configuration(ports, tmp_path, {"tracking_uri": f"http://127.0.0.1:{port}", "experiment": "Default"})
    with Program(config, tmp_path, ports) as program:
        sender = Sender(ports.grpc, patience=100)
        sending = threading.Thread(target=sender.send_all, args=([heavy(100_000) for _ in range(400)],))
        sending.start()
        until_sync(lambda: len(sender.refused) > 10, what="refusals")
        assert set(sender.refused) == {grpc.StatusCode.UNAVAILABLE}
        assert len(sender.acknowledged) > 20
        assert program.ready()

        ballast = small_disk / "ballast"  # another program takes what is left, to the last byte
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        assert shutil.disk_usage(small_disk).free < 4096
        assert program.ready()
        server = Misbehaving(nothing, times=0)
        with server.running(port):
            until_sync(lambda: server.downstream.taken, what="delivery, which needs no room")
            ballast.unlink()
            sending.join()
            until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, what="an empty journal")
        assert len(sender.acknowledged) == 400
        assert delivered(server) == sender.acknowledged
        assert max(server.downstream.taken.values()) == 1
        assert program.metric("spanbridge_set_aside_spans") == 0
        assert "Traceback" not in program.tail()
        program.stop()
