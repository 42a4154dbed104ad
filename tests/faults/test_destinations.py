"""A destination that does wrong in every way an HTTP server can: nothing is lost, doubled, or set aside for it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest

from spanbridge.collector.exporters.mlflow.exporter import MlflowSpanExporter
from spanbridge.collector.exporters.otlp.exporter import OtlpHttpExporter
from spanbridge.collector.net.http_client import pool_manager
from spanbridge.processors.types import Context
from tests.faults.support.downstreams import TIMEOUT
from tests.faults.support.flow import flowing
from tests.faults.support.misbehaving import Misbehaving, Misdeed, Request, Wire
from tests.polling import until
from tests.samples.spans import trace_batch


def mlflow(address: str) -> MlflowSpanExporter:
    return MlflowSpanExporter(address, experiment="Default", timeout=TIMEOUT, environ={})


def otlp_http(address: str) -> OtlpHttpExporter:
    pool = pool_manager(TIMEOUT, maxsize=4, retries=False)
    return OtlpHttpExporter(pool, f"{address}/v1/traces", headers={}, compression="gzip")


EXPORTERS = {"mlflow": mlflow, "otlp_http": otlp_http}


def status(code: int, body: bytes = b'{"detail": "no"}', **headers: str) -> Misdeed:
    return lambda server, wire, request: wire.answer(code, body, **headers)


def hang(server: Misbehaving, wire: Wire, request: Request) -> None:
    server.over.wait()


def hang_with_the_spans(server: Misbehaving, wire: Wire, request: Request) -> None:
    server.take(request)
    server.over.wait()


def slow(server: Misbehaving, wire: Wire, request: Request) -> None:
    """An answer that comes a byte at a time, and in time."""
    server.take(request)
    for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}":
        wire.socket.sendall(bytes([byte]))
        server.over.wait(TIMEOUT / 100)


def drip_head(server: Misbehaving, wire: Wire, request: Request) -> None:
    """Bytes without end, each of them in time."""
    server.take(request)
    drip(server, wire, b"HTTP/1.1 200 OK\r\nx: ")


def drip_body(server: Misbehaving, wire: Wire, request: Request) -> None:
    server.take(request)
    drip(server, wire, b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")


def drip(server: Misbehaving, wire: Wire, begin: bytes) -> None:
    wire.socket.sendall(begin)
    while not server.over.wait(TIMEOUT / 20):
        wire.socket.sendall(b"x")


def vanish(server: Misbehaving, wire: Wire, request: Request) -> None:
    wire.hang_up()


def reset(server: Misbehaving, wire: Wire, request: Request) -> None:
    wire.reset()


def reset_mid_answer(server: Misbehaving, wire: Wire, request: Request) -> None:
    server.take(request)
    wire.socket.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
    wire.reset()


def half_an_answer(server: Misbehaving, wire: Wire, request: Request) -> None:
    server.take(request)
    wire.socket.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
    server.over.wait()


def cut_head(server: Misbehaving, wire: Wire, request: Request) -> None:
    wire.socket.sendall(b"HTTP/1.1 20")
    wire.hang_up()


def garbage(server: Misbehaving, wire: Wire, request: Request) -> None:
    wire.socket.sendall(b"\x00\xffSSH-2.0-what\r\n\r\n")
    wire.hang_up()


def half_open_from_now(server: Misbehaving, wire: Wire, request: Request) -> None:
    """It answers, and then is deaf on the kept connection."""
    wire.answer(503)
    server.over.wait()
    wire.hang_up()  # what came meanwhile was never read


@dataclass(frozen=True)
class Case:
    """`takes`: whether the spans are taken before it goes wrong, so that they come twice by upsert."""

    misdeed: Misdeed
    takes: bool = False


CASES = {
    "500": Case(status(500)),
    "502 with a page": Case(status(502, b"<html>bad gateway</html>", content_type="text/html")),
    "503": Case(status(503)),
    "504": Case(status(504)),
    "408": Case(status(408)),
    "429 with seconds": Case(status(429, retry_after="0")),
    "429 with a date": Case(status(429, retry_after="Fri, 31 Dec 1999 23:59:59 GMT")),
    "429 with nonsense": Case(status(429, retry_after="soon")),
    "422 by whim": Case(status(422)),
    "400 by whim": Case(status(400)),
    "401": Case(status(401)),
    "403": Case(status(403)),
    "404": Case(status(404)),
    "a page of a login": Case(status(200, b"<html>who are you?</html>", content_type="text/html; charset=utf-8")),
    "no body to its 500": Case(status(500, b"")),
    "bytes that are no text": Case(status(500, b"\xff\xfe\x00")),
    "hanging": Case(hang),
    "hanging with the spans": Case(hang_with_the_spans, takes=True),
    "slow": Case(slow),
    "a head that drips for ever": Case(drip_head, takes=True),
    "a body that drips for ever": Case(drip_body, takes=True),
    "gone without an answer": Case(vanish),
    "reset": Case(reset),
    "reset mid-answer": Case(reset_mid_answer, takes=True),
    "half an answer": Case(half_an_answer, takes=True),
    "cut head": Case(cut_head),
    "garbage": Case(garbage),
    "half-open": Case(half_open_from_now),
}


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("case", CASES)
async def test_what_it_does_wrong_costs_nothing(case, exporter, tmp_path):
    server = Misbehaving(CASES[case].misdeed, times=3)
    with server.running() as address:
        async with flowing(tmp_path, EXPORTERS[exporter](address)) as ground:
            for _ in range(20):
                await ground.put(trace_batch())
            await until(ground.settled, what="settlement of everything")

    taken = server.downstream.taken
    assert server.misdeeds == 3
    assert set(taken) == ground.acknowledged
    assert not ground.journal.aside
    assert max(taken.values()) <= (4 if CASES[case].takes else 1)


LOOKUPS = {
    "JSON of something else": b'{"status": "ok"}',
    "a list": b"[]",
    "null": b"null",
    "no JSON": b"{",
    "an experiment of another shape": b'{"experiment": []}',
    "a page": b"<html>log in</html>",
}


@pytest.mark.parametrize("answer", LOOKUPS)
async def test_an_experiment_that_is_told_in_wrong_json_is_asked_for_again(answer, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("spanbridge.collector.exporters.mlflow.experiments.FAILED", 0.01)
    server = Misbehaving(status(200, LOOKUPS[answer]), times=2, where="/experiments/")
    with server.running() as address, caplog.at_level(logging.WARNING):
        async with flowing(tmp_path, mlflow(address)) as ground:
            await ground.put(trace_batch())
            await until(ground.settled, what="settlement of everything")
    assert set(server.downstream.taken) == ground.acknowledged
    assert not ground.journal.aside
    assert "answers what MLflow would not; is a proxy in between?" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("exporter", EXPORTERS)
async def test_refused_credentials_hold_everything_loudly_until_they_are_renewed(exporter, tmp_path, caplog):
    server = Misbehaving(status(401), times=1 << 30)
    with server.running() as address, caplog.at_level(logging.ERROR):
        async with flowing(tmp_path, EXPORTERS[exporter](address)) as ground:
            for _ in range(30):
                await ground.put(trace_batch())
            await until(lambda: server.misdeeds > 50, what="fifty tries in vain")
            assert ground.metric("spanbridge_delivery_held") == 1
            assert not server.downstream.taken
            assert ground.journal.state().rows == 30
            server._times = 0  # the operator has mended it
            await until(ground.settled, what="settlement of everything")
            assert ground.metric("spanbridge_delivery_held") == 0
    assert set(server.downstream.taken) == ground.acknowledged
    assert not ground.journal.aside
    assert all(record.levelno == logging.ERROR for record in caplog.records)
    assert "credentials" in caplog.text


async def test_nobody_waits_for_a_retry_after_that_is_out_of_all_reason(tmp_path):
    server = Misbehaving(status(429, retry_after="86400"), times=1)
    with server.running() as address:
        async with flowing(tmp_path, mlflow(address)) as ground:
            await ground.put(trace_batch())
            await until(ground.settled, seconds=5, what="settlement of everything")
    assert server.misdeeds == 1


async def test_one_experiment_that_is_refused_holds_no_other(tmp_path):
    """403 for the experiment that a client named is that client's affair: its spans are set aside, in the end."""
    forbidden = b'{"error_code": "PERMISSION_DENIED", "message": "Permission denied"}'
    server = Misbehaving(status(403, forbidden), times=1 << 30, where="experiment_name=theirs")
    with server.running() as address:
        async with flowing(tmp_path, mlflow(address)) as ground:
            await ground.put(trace_batch(), Context(experiment_name="theirs"))
            for _ in range(20):
                await ground.put(trace_batch())
            await until(lambda: len(server.downstream.taken) == 60, what="the others")
            await until(lambda: ground.journal.state().dead_letters > 0, what="what is set aside")
    assert len(server.downstream.taken) == 60
