"""SIGTERM in each stage: the program ends in time, and what it had acknowledged is delivered, now or after a start."""

from __future__ import annotations

import random
import signal
import threading
import time

import pytest

from spanbridge.collector.service.run import ONE_SIGNAL
from tests.faults.support.clients import load
from tests.faults.support.misbehaving import Misbehaving
from tests.faults.support.sizes import SEED
from tests.faults.support.slow_disk import DELAY
from tests.polling import until_sync
from tests.samples.sender import Sender, stream
from tests.servers.program import Ports, Program, configuration

TIMEOUT = 2.0
GRACE = 2.0
"""Seconds beyond its shutdown_timeout that a program may take to end."""


def nothing(*_: object) -> None:
    """Behave."""


class Ground:
    """A program that delivers to a server of the test's, and what was acknowledged."""

    def __init__(self, server: Misbehaving, address: str, folder, processors=None) -> None:
        self.ports = Ports()
        self.server = server
        config = configuration(
            self.ports, folder, {"tracking_uri": address, "experiment": "Default"}, processors=processors
        )
        config["service"]["shutdown_timeout"] = f"{TIMEOUT}s"
        self.program = Program(config, folder, self.ports, MLFLOW_HTTP_REQUEST_TIMEOUT="30")

    def send(self, traces: int = 50, size: int = 4) -> set[tuple[str, str]]:
        sender = Sender(self.ports.grpc)
        sender.send_all(stream(traces=traces, size=size, per_request=20))
        return sender.acknowledged

    def stop(self) -> float:
        """SIGTERM; seconds until the end."""
        started = time.monotonic()
        assert self.program.stop(TIMEOUT + GRACE) == 0, self.program.tail()
        return time.monotonic() - started

    def taken(self) -> set[tuple[str, str]]:
        return {(trace_id.hex(), span_id.hex()) for trace_id, span_id in self.server.downstream.taken}

    def deliver_the_rest(self, acknowledged: set[tuple[str, str]]) -> None:
        self.program.start()
        until_sync(lambda: self.program.metric("spanbridge_journal_bytes") == 0, what="an empty journal")
        assert self.taken() == acknowledged
        assert "Traceback" not in self.program.tail()


@pytest.fixture
def ground(tmp_path, request):
    """With the server's misdeed and the processors that the test is marked with."""
    misdeed, processors = getattr(request, "param", (nothing, None))
    server = Misbehaving(misdeed, times=0 if misdeed is nothing else 1 << 30)
    with server.running() as address:
        made = Ground(server, address, tmp_path, processors)
        with made.program:
            yield made


def test_while_requests_come_in(ground):
    clients = load(1, ground.ports.grpc, ground.ports.http, pause=0.0)
    for client in clients:
        client.start()
    until_sync(lambda: all(client.sent.requests > 20 for client in clients), what="a load")
    assert ground.stop() < TIMEOUT + GRACE
    ground.program.start()  # the clients are still there, and send what they got no OK for
    for client in clients:
        client.stop()
    for client in clients:
        client.join(30)
    acknowledged = set().union(*(client.sent.ids() for client in clients))
    until_sync(lambda: ground.program.metric("spanbridge_journal_bytes") == 0, what="an empty journal")
    assert ground.taken() == acknowledged
    assert max(ground.server.downstream.taken.values()) == 1


@pytest.mark.parametrize("ground", [(nothing, {"groupbytrace": {"wait_duration": "1h"}})], indirect=True)
def test_while_traces_wait_for_more_spans_they_are_handed_on(ground):
    acknowledged = ground.send()
    assert not ground.taken()
    assert ground.stop() < TIMEOUT + GRACE
    assert ground.taken() == acknowledged


def answer_late(server: Misbehaving, wire, request) -> None:
    server.over.wait(0.3)
    server.take(request)
    wire.answer(200)


@pytest.mark.parametrize("ground", [(answer_late, None)], indirect=True)
def test_while_it_delivers_to_a_slow_destination(ground):
    acknowledged = ground.send(traces=300)
    until_sync(ground.taken, what="the first delivery")
    assert ground.stop() < TIMEOUT + GRACE
    ground.server._times = 0
    ground.deliver_the_rest(acknowledged)


def hang(server: Misbehaving, wire, request) -> None:
    server.over.wait()
    wire.hang_up()


@pytest.mark.parametrize("ground", [(hang, None)], indirect=True)
def test_while_a_delivery_hangs(ground):
    acknowledged = ground.send()
    until_sync(lambda: ground.server.misdeeds, what="a send that hangs")
    took = ground.stop()
    assert TIMEOUT * 0.9 < took < TIMEOUT + GRACE
    ground.server._times = 0
    ground.deliver_the_rest(acknowledged)


def refuse(server: Misbehaving, wire, request) -> None:
    wire.answer(503, retry_after="3600")


@pytest.mark.parametrize("ground", [(refuse, None)], indirect=True)
def test_while_a_destination_asks_for_patience(ground):
    acknowledged = ground.send()
    until_sync(lambda: ground.server.misdeeds, what="a refusal")
    assert ground.stop() < TIMEOUT + GRACE
    ground.server._times = 0
    ground.deliver_the_rest(acknowledged)


def test_twice_ends_at_once(tmp_path):
    server = Misbehaving(hang, times=1 << 30)
    with server.running() as address:
        made = Ground(server, address, tmp_path)
        with made.program as program:
            made.send()
            until_sync(lambda: server.misdeeds, what="a send that hangs")
            later = ONE_SIGNAL + 0.2  # before that it would be the same signal, passed on twice
            again = threading.Timer(later, program.process.terminate)
            again.start()
            started = time.monotonic()
            assert program.stop(later + TIMEOUT) == 1
            assert time.monotonic() - started < later + TIMEOUT
            again.join()


def test_while_it_starts(ground):
    """With a backlog in its journal, at any moment between nothing and readiness."""
    ground.server._misdeed, ground.server._times = refuse, 1 << 30
    acknowledged = ground.send()
    assert ground.stop() < TIMEOUT + GRACE
    dice = random.Random(SEED)
    for _ in range(10):
        process = ground.program.spawn()
        time.sleep(dice.uniform(0, 1.0))  # the random moment
        process.terminate()
        assert process.wait(TIMEOUT + GRACE) in (0, -signal.SIGTERM)
    ground.server._times = 0
    ground.deliver_the_rest(acknowledged)


def test_while_the_disk_is_slow(tmp_path):
    """What waits for the disk is committed and answered, or is not answered with OK."""
    server = Misbehaving(nothing, times=0)
    with server.running() as address:
        made = Ground(server, address, tmp_path)
        made.program.module = "tests.faults.support.slow_disk"
        with made.program as program:
            clients = load(1, made.ports.grpc, made.ports.http, pause=0.0)
            for client in clients:
                client.start()
            until_sync(lambda: all(client.sent.requests > 2 for client in clients), what="a load")
            assert made.stop() < TIMEOUT + GRACE + 4 * DELAY  # the commits that are under way come on top
            program.module = "spanbridge"
            program.start()
            for client in clients:
                client.stop()
            for client in clients:
                client.join(30)
            acknowledged = set().union(*(client.sent.ids() for client in clients))
            until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, what="an empty journal")
            assert made.taken() == acknowledged
            assert "Traceback" not in program.tail()
