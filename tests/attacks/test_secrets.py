"""Secrets planted in every place of a configuration that may hold one: no output of the program shows any."""

import base64
import subprocess
import sys

import bcrypt
import pytest
import urllib3
import yaml

from spanbridge.collector.errors import Retryable
from spanbridge.collector.exporters.otlp.exporter import OtlpHttpExporter
from tests.fakes import Answer, http_server
from tests.paths import ROOT
from tests.polling import until_sync
from tests.samples.sender import Sender
from tests.samples.spans import trace_batch
from tests.samples.traces import serialized, span, trace
from tests.servers.program import POOL, Ports, Program, configuration

HASH = bcrypt.hashpw(b"pa55-hashed", bcrypt.gensalt(4)).decode()
PEM = "-----BEGIN PRIVATE KEY-----\nPEM-SECRET\n-----END PRIVATE KEY-----\n"
SECRETS = (
    *("TOKEN-SECRET", "TOKENS-SECRET", "FILE-SECRET", "pa55-hashed", HASH[7:], "PEM-SECRET"),
    *("USER-SECRET", "PASSWORD-SECRET", "MLFLOW-TOKEN-SECRET", "HEADER-SECRET", "URI-SECRET", "FORWARD-SECRET"),
    *("GRPC-SECRET", "ENV-SECRET", "SALT-SECRET", "QUERY-SECRET"),
)


def extensions(folder):
    (folder / "tokens").write_text("FILE-SECRET\n")
    return {
        "bearertokenauth": {"token": "TOKEN-SECRET"},
        "bearertokenauth/many": {
            "tokens": ["TOKENS-SECRET", {"filename": str(folder / "tokens"), "tenant": "t", "allow_experiments": ["t"]}]
        },
        "basicauth": {"htpasswd": {"inline": f"ann:{HASH}".replace("$", "$$")}},
    }


def exporters():
    retry = {"initial_interval": "100ms", "max_interval": "1s"}
    return {
        "otlp_http": {
            "endpoint": "http://forward:FORWARD-SECRET@127.0.0.1:9/",
            "headers": {"authorization": "HEADER-SECRET"},
            "retry_on_failure": retry,
        },
        "otlp_grpc": {
            "endpoint": "127.0.0.1:9",
            "tls": {"insecure": True},
            "headers": {"authorization": "GRPC-SECRET", "x": "${env:A_SECRET}"},
            "retry_on_failure": retry,
        },
    }


def secretive(folder, mlflow):
    """A good configuration with all of them."""
    ports = Ports()
    config = configuration(ports, folder, mlflow)
    config["extensions"] |= extensions(folder)
    config["exporters"] |= exporters()
    config["service"]["extensions"] += list(extensions(folder))
    config["service"]["pipelines"]["traces"]["exporters"] += list(exporters())
    config["service"]["telemetry"]["logs"] = {"level": "debug"}
    config["processors"] = {
        "tail_sampling": {
            "decision_wait": "1s",
            "policies": [{"name": "p", "type": "always_sample"}],
        },
    }
    config["service"]["pipelines"]["traces"]["processors"] = ["tail_sampling"]
    return config, ports


SERVERS = {
    "tracking server": {
        "tracking_uri": "http://127.0.0.1:9",
        "username": "USER-SECRET",
        "password": "PASSWORD-SECRET",
        "headers": {"x-key": "HEADER-SECRET"},
    },
    "token": {"tracking_uri": "http://127.0.0.1:9", "token": "MLFLOW-TOKEN-SECRET"},
    "in the address": {"tracking_uri": "http://USER-SECRET:URI-SECRET@127.0.0.1:9/?key=QUERY-SECRET"},
    "database": {"tracking_uri": "postgresql://USER-SECRET:URI-SECRET@127.0.0.1:9/db?sslpassword=QUERY-SECRET"},
}


def shown(text):
    return [secret for secret in SECRETS if secret in text]


def run(config, folder, *command):
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    done = subprocess.run(
        [sys.executable, "-m", "spanbridge", *command, "--config", str(file)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "/usr/bin", "A_SECRET": "ENV-SECRET", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
        timeout=90,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("mlflow", SERVERS.values(), ids=SERVERS)
def test_validate_and_check_show_none(tmp_path, mlflow):
    config, _ = secretive(tmp_path, mlflow)
    code, output = run(config, tmp_path, "validate")
    assert (code, shown(output)) == (0, []), output
    code, output = run(config, tmp_path, "check")
    assert output.strip()
    assert shown(output) == []


@pytest.mark.parametrize("mlflow", SERVERS.values(), ids=SERVERS)
def test_a_run_against_nobody_shows_none(tmp_path, mlflow):
    """Errors of connections are where addresses with passwords in them come out."""
    config, ports = secretive(tmp_path, mlflow)
    with Program(config, tmp_path, ports, A_SECRET="ENV-SECRET") as program:
        Sender(ports.grpc).send_all([trace_batch()])
        for exporter in ("mlflow", *exporters()):
            until_sync(
                lambda name=exporter: program.metric(f'spanbridge_delivery_retries{{exporter="{name}"}}') > 1,
                what=f"retries of {exporter}; log:\n{program.tail()}",
            )
        pages = [
            POOL.request("GET", f"http://127.0.0.1:{port}{path}").data.decode()
            for port in (ports.metrics, ports.health)
            for path in ("/metrics", "/", "/status", "/config", "/readyz", "/livez", "/debug/vars")
        ]
        _, listing = run(config, tmp_path, "journal", "ls")
        log = program.log.read_text()
    assert "retries" in pages[0]
    assert "set aside" in listing
    assert "next try in" in log
    assert shown("".join([*pages, listing, log])) == []


WRONG = {
    "a token that is a list": ("extensions", "bearertokenauth", {"token": ["TOKEN-SECRET"]}),
    "a token under a wrong key": ("extensions", "bearertokenauth", {"tokne": "TOKEN-SECRET"}),
    "one token twice": ("extensions", "bearertokenauth", {"tokens": ["TOKENS-SECRET", "TOKENS-SECRET"]}),
    "tokens that are text": ("extensions", "bearertokenauth", {"tokens": "TOKENS-SECRET"}),
    "a token with rights and no name": (
        "extensions",
        "bearertokenauth",
        {"tokens": [{"token": "TOKENS-SECRET", "allow_experiments": ["x"]}]},
    ),
    "a plain password": ("extensions", "basicauth", {"htpasswd": {"inline": "ann:pa55-hashed"}}),
    "htpasswd that is text": ("extensions", "basicauth", {"htpasswd": "ann:pa55-hashed"}),
    "credentials for clients": ("extensions", "basicauth", {"client_auth": {"password": "PASSWORD-SECRET"}}),
    "an address of no scheme": ("exporters", "mlflow", {"tracking_uri": "postgres//USER-SECRET:URI-SECRET@h/db"}),
    "an address of a wrong port": ("exporters", "mlflow", {"tracking_uri": "http://u:URI-SECRET@h:99999999"}),
    "an address that is a list": ("exporters", "mlflow", {"tracking_uri": ["http://u:URI-SECRET@h"]}),
    "a token and a password": (
        "exporters",
        "mlflow",
        {"tracking_uri": "http://h", "token": "MLFLOW-TOKEN-SECRET", "password": "PASSWORD-SECRET"},
    ),
    "a password that is a map": ("exporters", "mlflow", {"password": {"PASSWORD-SECRET": 1}}),
    "headers that are text": ("exporters", "otlp_http", {"endpoint": "http://h", "headers": "HEADER-SECRET"}),
    "a header that is a list": (
        "exporters",
        "otlp_http",
        {"endpoint": "http://h", "headers": {"a": ["HEADER-SECRET"]}},
    ),
    "a forward address of no scheme": ("exporters", "otlp_http", {"endpoint": "u:FORWARD-SECRET@h"}),
    "a forward address over gRPC": ("exporters", "otlp_grpc", {"endpoint": "u:FORWARD-SECRET@h"}),
    "a key without certificate": ("exporters", "otlp_grpc", {"endpoint": "h:1", "tls": {"key_pem": PEM}}),
    "a key that is none": (
        "receivers",
        "otlp",
        {"protocols": {"grpc": {"tls": {"cert_pem": "PEM-SECRET", "key_pem": ["PEM-SECRET"]}}}},
    ),
    "a salt that is a list": ("processors", "redaction", {"hash_function": "sha1", "hmac_key": ["SALT-SECRET"]}),
}


@pytest.mark.parametrize(("section", "component", "wrong"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_without_the_secret(tmp_path, section, component, wrong):
    config, _ = secretive(tmp_path, SERVERS["tracking server"])
    config[section][component] = wrong
    code, output = run(config, tmp_path, "validate")
    assert code == 2, output
    assert f"{section}::{component}" in output
    assert shown(output) == []


def test_a_key_file_that_is_no_key_is_not_quoted(tmp_path):
    (tmp_path / "key").write_text(PEM)
    config, ports = secretive(tmp_path, SERVERS["token"])
    tls = {"cert_file": str(tmp_path / "key"), "key_file": str(tmp_path / "key")}
    config["receivers"]["otlp"]["protocols"]["http"]["tls"] = tls
    program = Program(config, tmp_path, ports, A_SECRET="ENV-SECRET")
    with pytest.raises((AssertionError, urllib3.exceptions.HTTPError)):
        program.start(20)
    assert "cert_file" in program.tail()
    assert shown(program.log.read_text()) == []


@pytest.mark.parametrize(
    ("headers", "sent"),
    [({}, "Basic " + base64.b64encode(b"ann:p@ss").decode()), ({"Authorization": "Bearer t"}, "Bearer t")],
)
def test_credentials_in_an_address_are_sent_and_not_shown(headers, sent):
    seen = []

    def respond(request):
        seen.append(request)
        return Answer(500)

    with http_server(respond) as address, urllib3.PoolManager(retries=False) as pool:
        host = address.removeprefix("http://")
        exporter = OtlpHttpExporter(pool, f"http://ann:p%40ss@{host}/v1?k=QUERY", headers=headers, compression="none")
        with pytest.raises(Retryable) as failure:
            exporter.send(serialized([trace([span(b"t" * 16, b"s" * 8)])]))
    assert (seen[0].headers["authorization"], seen[0].query) == (sent, {"k": "QUERY"})
    assert str(failure.value) == f"http://{host}/v1 answered 500"
