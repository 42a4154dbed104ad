"""HTTP to a server: what goes over the wire, and what becomes of a call that fails."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from spanbridge.collector.errors import Held, Permanent, Retryable
from spanbridge.collector.exporters.mlflow import MlflowSpanExporter
from spanbridge.collector.exporters.mlflow.server.rest import Rest
from spanbridge.collector.exporters.mlflow.settings import MlflowSettings
from spanbridge.processors.types import Context
from tests.fakes import Answer, Seen, http_server
from tests.samples.mlflow_traces import whole_trace
from tests.samples.traces import serialized


@pytest.mark.parametrize(("compression", "encoding"), [("gzip", "gzip"), ("none", None)])
def test_what_is_sent(compression, encoding):
    seen: list[Seen] = []
    with http_server(lambda request: seen.append(request) or Answer()) as address:
        settings = MlflowSettings(tracking_uri=address, compression=compression, token="t", headers={"X-Own": "1"})
        rest = Rest(settings)
        rest.send_otlp("/v1/traces", b"payload" * 100, {"x-mlflow-experiment-id": "5"})
        rest.close()
    [request] = seen
    assert (request.method, request.path, request.body) == ("POST", "/v1/traces", b"payload" * 100)
    assert request.headers.get("content-encoding") == encoding
    assert request.headers["content-type"] == "application/x-protobuf"
    assert (request.headers["authorization"], request.headers["x-own"]) == ("Bearer t", "1")
    assert request.headers["x-mlflow-experiment-id"] == "5"


def test_connections_are_kept():
    with http_server(lambda _: Answer()) as address:
        rest = Rest(MlflowSettings(tracking_uri=address))
        for _ in range(3):
            rest.get("/x", {"a": "b c"}, {})
        assert rest._pool.connection_from_url(address).num_connections == 1
        rest.close()


def test_a_server_that_does_not_answer():
    over = threading.Event()
    with http_server(lambda _: over.wait(10) and Answer()) as address:
        rest = Rest(MlflowSettings(tracking_uri=address, timeout=0.1))
        with pytest.raises(Retryable, match="ReadTimeoutError"):
            rest.get("/x", {}, {})
        over.set()
        rest.close()


def test_a_header_that_can_not_be_sent():
    rest = Rest(MlflowSettings(tracking_uri="http://127.0.0.1:1"))
    with pytest.raises(Permanent, match="can't be asked"):
        rest.get("/x", {}, {"x-mlflow-run-id": "a\nb"})


def test_an_experiment_a_sender_may_not_write_to_is_its_own_fault():
    def respond(request: Seen) -> Answer:
        return Answer(403, b"Permission denied", {"Content-Type": "text/plain"})

    with http_server(respond) as address:
        exporter = MlflowSpanExporter(address, environ={})
        with pytest.raises(Permanent, match="permission denied for experiment 'x'"):
            exporter.send(serialized([whole_trace(context=Context(experiment_name="x"))]))
        with pytest.raises(Held, match="give this user EDIT"):
            exporter.send(serialized([whole_trace()]))
        exporter.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    signed = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(signed.public_bytes(pem) + private)
    return file


@pytest.mark.parametrize("options", [{"ca_file": "self"}, {"insecure_skip_verify": True}])
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_tls(certificate, options):
    options = {key: str(certificate) if value == "self" else value for key, value in options.items()}
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with http_server(lambda _: Answer(body=b"hello"), context) as address:
        rest = Rest(MlflowSettings(tracking_uri=address, **options))
        assert rest.get("/", {}, {}).body == b"hello"
        rest.close()


def test_a_certificate_nobody_vouches_for(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with http_server(lambda _: Answer(), context) as address:
        rest = Rest(MlflowSettings(tracking_uri=address))
        with pytest.raises(Held, match="set ca_file or MLFLOW_TRACKING_SERVER_CERT_PATH"):
            rest.get("/", {}, {})
        rest.close()
