"""The way to MLflow: a name that stops resolving, a server that wants a certificate, a token that expires."""

from __future__ import annotations

import logging
import socket
import ssl

import grpc
import pytest
import urllib3

from spanbridge.collector.exporters.mlflow.exporter import MlflowSpanExporter
from spanbridge.collector.exporters.otlp.exporter import OtlpGrpcExporter, OtlpHttpExporter
from spanbridge.collector.net.http_client import pool_manager
from spanbridge.processors.types import Batch
from tests.fakes import Answer, Seen, http_server
from tests.faults.support.downstreams import REST, TIMEOUT, Downstream
from tests.faults.support.flow import flowing
from tests.polling import until
from tests.samples.sender import Sender, stream
from tests.samples.spans import trace_batch
from tests.servers.certificates import Authority
from tests.servers.program import Ports, Program, configuration

HOST = "mlflow.invalid"


@pytest.fixture
def resolver(monkeypatch):
    """Whether HOST stands for this machine: `resolver[:] = [True]`; at first it does not."""
    known, real = [False], socket.getaddrinfo

    def look_up(host, *arguments, **options):
        if host == HOST and not known[0]:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real("127.0.0.1" if host == HOST else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def answering(downstream: Downstream, denied=lambda seen: False):
    """What MLflow and an OTLP endpoint answer, which is the same for this purpose."""

    def respond(seen: Seen) -> Answer:
        if denied(seen):
            return Answer(401, b"")
        if seen.path.endswith("/v1/traces"):
            downstream.deed([Batch.FromString(seen.body)])
            return Answer(200, b"")
        return Answer(200, REST)

    return respond


def mlflow(address: str, **options) -> MlflowSpanExporter:
    return MlflowSpanExporter(address, experiment="Default", timeout=1, environ={}, **options)


def otlp_http(address: str) -> OtlpHttpExporter:
    return OtlpHttpExporter(pool_manager(TIMEOUT, retries=False), f"{address}/v1/traces", headers={}, compression="")


def pool(exporter) -> urllib3.PoolManager:
    return exporter._pool if isinstance(exporter, OtlpHttpExporter) else exporter._destination._rest._pool


@pytest.mark.parametrize("exporter", [mlflow, otlp_http])
async def test_a_name_that_stops_resolving_and_comes_back(exporter, resolver, tmp_path, caplog):
    there = Downstream()
    with http_server(answering(there)) as address:
        made = exporter(address.replace("127.0.0.1", HOST))
        async with flowing(tmp_path, made) as ground:
            for times in (5, 10):
                for _ in range(20):
                    await ground.put(trace_batch())
                await until(lambda n=times: ground.metric("spanbridge_delivery_retries_total") >= n, what="failures")
                resolver[:] = [True]
                await until(ground.settled, what="settlement of everything")
                resolver[:] = [False]
                pool(made).clear()  # a connection that is kept needs no name
    assert set(there.taken) == ground.acknowledged
    assert max(there.taken.values()) == 1
    assert not ground.journal.aside
    assert "Traceback" not in caplog.text


NOWHERE = "nonexistent.invalid"
UNREACHABLE = {
    "mlflow": lambda: MlflowSpanExporter(f"http://{NOWHERE}:5000", experiment="Default", timeout=1, environ={}),
    "database": lambda: MlflowSpanExporter(f"postgresql://mlflow@{NOWHERE}/mlflow", experiment="Default", environ={}),
    "otlp_http": lambda: otlp_http(f"http://{NOWHERE}:4318"),
    "otlp_grpc": lambda: OtlpGrpcExporter(
        grpc.insecure_channel(f"{NOWHERE}:4317"), timeout=TIMEOUT, headers={}, compression=""
    ),
}


@pytest.mark.parametrize("exporter", UNREACHABLE)
async def test_a_name_that_nobody_knows_keeps_everything_and_is_told(exporter, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        async with flowing(tmp_path, UNREACHABLE[exporter]()) as ground:
            for _ in range(20):
                await ground.put(trace_batch())
            # a resolver may take its time to say so
            await until(lambda: ground.metric("spanbridge_delivery_retries_total") >= 3, seconds=90, what="failures")
            assert ground.journal.state().rows == 20
    assert not ground.journal.aside
    assert "Traceback" not in caplog.text


def test_a_bridge_starts_and_stops_without_a_name_to_deliver_to(tmp_path):
    ports = Ports()
    config = configuration(ports, tmp_path, {"tracking_uri": f"http://{NOWHERE}:5000", "experiment": "Default"})
    config["service"]["shutdown_timeout"] = "1s"
    with Program(config, tmp_path, ports) as program:
        sender = Sender(ports.grpc)
        sender.send_all(stream(traces=10, size=3, per_request=10))
        assert len(sender.acknowledged) == 30
        assert program.stop(10) == 0
        assert "Traceback" not in program.tail()


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def demanding(authority: Authority) -> ssl.SSLContext:
    """A server's context that lets in who has a certificate of the authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file))
    server = authority.issue("server")
    context.load_cert_chain(server.cert, server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_a_server_that_demands_a_client_certificate(authority, tmp_path):
    there, mine = Downstream(), authority.issue("bridge")
    with http_server(answering(there), demanding(authority)) as address:
        made = mlflow(address, ca_file=str(authority.file), cert_file=str(mine.cert), key_file=str(mine.key))
        async with flowing(tmp_path, made) as ground:
            await ground.put(trace_batch())
            await until(ground.settled, what="settlement of everything")
    assert set(there.taken) == ground.acknowledged


@pytest.mark.parametrize("mine", ["none", "a stranger's"])
async def test_without_the_right_one_everything_waits(mine, authority, tmp_path, caplog):
    stranger = Authority(tmp_path, "stranger").issue("impostor")
    keys = {} if mine == "none" else {"cert_file": str(stranger.cert), "key_file": str(stranger.key)}
    there = Downstream()
    with http_server(answering(there), demanding(authority)) as address, caplog.at_level(logging.WARNING):
        async with flowing(tmp_path, mlflow(address, ca_file=str(authority.file), **keys)) as ground:
            await ground.put(trace_batch())
            await until(lambda: ground.metric("spanbridge_delivery_retries_total") >= 3, what="failures")
            assert ground.journal.state().rows == 1
    assert not there.taken
    assert not ground.journal.aside
    assert "Traceback" not in caplog.text


async def test_a_token_that_expires_is_read_again_when_it_is_renewed(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("spanbridge.collector.watched_file._INTERVAL", 0.05)
    monkeypatch.setattr("spanbridge.collector.exporters.mlflow.experiments.FAILED", 0.01)
    file, good, there = tmp_path / "token", ["first"], Downstream()
    file.write_text("first\n")

    def expired(seen: Seen) -> bool:
        return seen.headers.get("authorization") != f"Bearer {good[0]}"

    with http_server(answering(there, expired)) as address, caplog.at_level(logging.WARNING):
        async with flowing(tmp_path, mlflow(address, token_file=str(file))) as ground:
            for token in ("first", "second", "third"):
                good[:] = [token]  # what is in the file is worth nothing from now on, the first time apart
                await ground.put(trace_batch())
                if token != "first":
                    await until(lambda: ground.metric("spanbridge_delivery_held") == 1, what="refusals")
                    assert ground.journal.state().rows == 1
                    file.write_text(token + "\n")
                await until(ground.settled, what="settlement of everything")
                assert ground.metric("spanbridge_delivery_held") == 0
            file.write_text("")  # half written, or gone: the one before stays
            await ground.put(trace_batch())
            await until(ground.settled, what="settlement of everything")
    assert set(there.taken) == ground.acknowledged
    assert max(there.taken.values()) == 1
    assert not [token for token in ("first", "second", "third") if token in caplog.text]
    assert "token_file" in caplog.text
