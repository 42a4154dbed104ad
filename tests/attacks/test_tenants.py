"""The program behind TLS, with tokens bound to experiments, as its clients and those who are none meet it."""

import base64
import re
import ssl

import bcrypt
import grpc
import pytest
import urllib3

from spanbridge.processors.attributes import put
from spanbridge.processors.types import spans
from tests.polling import until_sync
from tests.samples.otlp_requests import GRPC_EXPORT
from tests.samples.reading import traces
from tests.samples.spans import trace_batch
from tests.servers.certificates import Authority
from tests.servers.program import Ports, Program, configuration

TOKEN_A, TOKEN_B, PASSWORD = "t0ken-of-team-a", "t0ken-of-team-b", "pa55word-of-ann"
PROTOBUF = "application/x-protobuf"


class Bridge:
    """A running program and what its clients need."""

    def __init__(self, folder):
        self.authority, self.stranger = Authority(folder), Authority(folder, "stranger")
        self.client, self.foreign = self.authority.issue("client"), self.stranger.issue("foreign")
        self.server = self.authority.issue("server")
        self.tokens = folder / "token-b"
        self.tokens.write_text(TOKEN_B)
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.program = Program(self._configuration(Ports(), folder), folder, self.ports)

    def _configuration(self, ports, folder):
        self.ports = ports
        exporter = {"tracking_uri": self.uri, "experiment": "{service.name}"}
        config = configuration(ports, folder, exporter, processors={"groupbytrace": {"wait_duration": "1s"}})
        tls = {"cert_file": str(self.server.cert), "key_file": str(self.server.key), "reload_interval": "1s"}
        protocols = config["receivers"]["otlp"]["protocols"]
        protocols["http"] |= {"tls": tls, "auth": {"authenticator": "bearertokenauth"}}
        protocols["grpc"] |= {
            "tls": tls | {"client_ca_file": str(self.authority.file)},
            "auth": {"authenticator": "basicauth"},
        }
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        tokens = [
            {"token": TOKEN_A, "tenant": "team-a", "allow_experiments": ["team-a/*"]},
            {"filename": str(self.tokens), "tenant": "team-b", "allow_experiments": ["team-b/*"]},
        ]
        config["extensions"] |= {
            "bearertokenauth": {"tokens": tokens},
            # of users there is no more than one, and a "$" is written twice as in the Collector
            "basicauth": {"htpasswd": {"inline": f"ann:{hashed}".replace("$", "$$")}},
        }
        config["service"]["extensions"] += ["bearertokenauth", "basicauth"]
        return config

    def post(self, body, token=TOKEN_A, *, authority=None, **headers):
        """(status, text) of a request over HTTPS."""
        trusting = (authority or self.authority).client_context()
        given = {"content-type": PROTOBUF} | ({"authorization": f"Bearer {token}"} if token else {})
        given |= {key.replace("_", "-"): value for key, value in headers.items()}
        with urllib3.PoolManager(retries=False, timeout=20, ssl_context=trusting) as pool:
            url = f"https://localhost:{self.ports.http}/v1/traces"
            answer = pool.request("POST", url, body=body, headers=given)
            return answer.status, answer.data

    def call(self, body, user="ann", password=PASSWORD, *, pair=None, authority=None):
        """(code, details) of a call with a client certificate."""
        pair = pair or self.client
        credentials = grpc.ssl_channel_credentials(
            (authority or self.authority).file.read_bytes(), pair.key.read_bytes(), pair.cert.read_bytes()
        )
        metadata = []
        if user:
            encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
            metadata = [("authorization", f"Basic {encoded}")]
        with grpc.secure_channel(f"localhost:{self.ports.grpc}", credentials) as channel:
            try:
                channel.unary_unary(GRPC_EXPORT)(body, timeout=5, metadata=metadata)
            except grpc.RpcError as error:
                return error.code(), error.details()
        return grpc.StatusCode.OK, ""

    def landed(self, experiment, count=1):
        """The traces of an experiment once there are so many."""
        found = until_sync(
            lambda: (found := list(traces(self.uri, experiment))) and len(found) >= count and found,
            what=f"{experiment}; log:\n{self.program.tail()}",
        )
        assert len(found) == count
        return found


@pytest.fixture(scope="module")
def bridge(tmp_path_factory):
    made = Bridge(tmp_path_factory.mktemp("tenants"))
    with made.program:
        yield made


def one(service, name="root"):
    return trace_batch(size=1, service=service, name=name)


def sent(batch):
    return batch.SerializeToString()


def test_tokens_wrong_or_missing(bridge):
    answers = {
        bridge.post(body, token)
        for token in (None, "", "wrong", TOKEN_A[:-1], f"{TOKEN_A} ", "é".encode())
        for body in (sent(one("team-a/x")), b"\xff\xff")  # what is not looked at can't be wrong
        if token != f"{TOKEN_A} "
    }
    assert {status for status, _ in answers} == {401}
    assert len(answers) == 1
    assert bridge.post(sent(one("team-a/x")), "wrong", authorization=f"Basic {TOKEN_A}")[0] == 401


def test_passwords_wrong_or_missing(bridge):
    answers = {
        bridge.call(b"\xff\xff", user, password) for user, password in (("", ""), ("ann", "wrong"), ("bob", PASSWORD))
    }
    assert answers == {(grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")}
    assert bridge.call(sent(one("by password"))) == (grpc.StatusCode.OK, "")
    bridge.landed("by password")


def test_bad_tls(bridge):
    body = sent(one("bad tls"))
    with pytest.raises(urllib3.exceptions.SSLError):
        bridge.post(body, authority=bridge.stranger)
    for wrong in ({"pair": bridge.foreign}, {"authority": bridge.stranger}):
        assert bridge.call(body, **wrong)[0] == grpc.StatusCode.UNAVAILABLE
    with urllib3.PoolManager(retries=False, timeout=10) as plain, pytest.raises(urllib3.exceptions.ProtocolError):
        plain.request("POST", f"http://localhost:{bridge.ports.http}/v1/traces", body=body)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("aNULL:eNULL:@SECLEVEL=0")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with urllib3.PoolManager(retries=False, ssl_context=old) as pool, pytest.raises(urllib3.exceptions.HTTPError):
        pool.request("POST", f"https://localhost:{bridge.ports.http}/v1/traces", body=body)
    assert bridge.post(sent(one("team-a/after bad tls")))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"x_mlflow_experiment_name": "team-b/x"},
        {"x_mlflow_experiment_name": "team-A/x"},
        {"x_mlflow_experiment_name": "  team-b/x"},
        {"x_mlflow_experiment_id": "0"},
        {"x_mlflow_experiment_id": "0", "x_mlflow_experiment_name": "team-a/x"},
        {"x_mlflow_workspace": "team-b", "x_mlflow_experiment_name": "team-a/x"},
    ],
)
def test_headers_do_not_lead_into_another_team_s_experiment(bridge, headers):
    status, text = bridge.post(sent(one("team-a/x")), **headers)
    assert status == 403
    assert b"team-b" not in text


def test_attributes_do_not_lead_there_either(bridge):
    def dropped():
        return bridge.program.metric('spanbridge_dropped_items{otel_signal="traces",reason="experiment not allowed"}')

    before = dropped()
    for service in ("team-b/by attribute", "Default", "team-a", "{x}"):
        assert bridge.post(sent(one(service)))[0] == 200
    assert bridge.post(sent(one("team-a/by attribute")))[0] == 200
    bridge.landed("team-a/by attribute")
    until_sync(lambda: dropped() - before == 4, what=bridge.program.tail())
    assert bridge.post(sent(one("team-b/own")), TOKEN_B)[0] == 200
    bridge.landed("team-b/own")
    assert list(traces(bridge.uri, "team-b/by attribute")) == list(traces(bridge.uri, "Default")) == []


def test_what_a_template_is_filled_with_is_not_filled_again(bridge):
    assert bridge.post(sent(one("team-a/{service.name}")))[0] == 200
    bridge.landed("team-a/{service.name}")


def test_mlflow_s_own_names_are_not_the_sender_s_to_use(bridge):
    batch = one("team-a/spoof", name="honest")
    spoofed = {
        "mlflow.experimentId": "0",
        "mlflow.traceRequestId": "tr-" + "0" * 32,
        "mlflow.trace.spansLocation": "ARTIFACT_REPO",
        "mlflow.artifactLocation": "file:///etc",
        "mlflow.sourceRun": "f" * 32,
        "mlflow.user": "root",
        "mlflow.traceTag.mlflow.artifactLocation": "file:///etc",
        "mlflow.traceTag.mlflow.trace.spansLocation": "ARTIFACT_REPO",
        "mlflow.traceTag.mlflow.user": "root",
    }
    for key, value in spoofed.items():
        put(next(spans(batch)).attributes, key, value)
        put(batch.resource_spans[0].resource.attributes, key, value)
    assert bridge.post(sent(batch))[0] == 200
    (trace,) = bridge.landed("team-a/spoof")
    span = next(spans(batch))
    assert trace.info.trace_id == "tr-" + span.trace_id.hex()
    assert [found.name for found in trace.data.spans] == ["honest"]  # MLflow looks for them where it has put them
    shown = str({**trace.info.tags, **trace.info.trace_metadata, **trace.data.spans[0].attributes})
    assert not [value for value in spoofed.values() if len(value) > 4 and value in shown]


def test_a_value_without_end_is_cut(bridge):
    batch = one("team-a/long")
    put(next(spans(batch)).attributes, "long", "x" * (5 << 20))
    assert bridge.post(sent(batch))[0] == 200
    (trace,) = bridge.landed("team-a/long")
    value = trace.data.spans[0].attributes["long"]
    assert len(value) == 4 << 20
    assert value.endswith("x... [5242880 characters, cut]")
    assert bridge.program.metric("spanbridge_receiver_truncated_values") == 1


def test_names_that_steer_terminals_do_not_reach_the_log(bridge):
    forged = "team-b/\n2026-01-01 00:00:00,000\tINFO\tcollector\tforged\x1b[2J\u2028\u202e\x9b1m"
    assert bridge.post(sent(one(forged, name=forged)))[0] == 200
    assert bridge.post(sent(one(forged, name=forged)), x_mlflow_experiment_name="a\tb")[0] == 400
    assert bridge.post(sent(one("team-a/after the forged")))[0] == 200
    bridge.landed("team-a/after the forged")
    log = bridge.program.log.read_text()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", log)
    assert not [line for line in log.splitlines() if line.startswith("2026-01-01 00:00:00")]


def test_a_token_that_was_changed_counts_within_seconds(bridge):
    bridge.tokens.write_text("t0ken-renewed")
    until_sync(lambda: bridge.post(sent(one("team-b/renewed")), "t0ken-renewed")[0] == 200)
    assert bridge.post(sent(one("team-b/renewed")), TOKEN_B)[0] == 401
    bridge.tokens.write_text(TOKEN_B)
    until_sync(lambda: bridge.post(sent(one("team-b/back")), TOKEN_B)[0] == 200)


def test_certificates_that_were_changed_are_shown_within_seconds(bridge):
    changed = bridge.stranger.issue("changed")
    bridge.server.key.write_bytes(changed.key.read_bytes())
    bridge.server.cert.write_bytes(changed.cert.read_bytes())

    def trusted():
        try:
            return bridge.post(sent(one("team-a/reload")), authority=bridge.stranger)[0] == 200
        except urllib3.exceptions.SSLError:
            return False

    until_sync(trusted, what="the new certificate over HTTP")
    body = sent(one("reload"))
    until_sync(lambda: bridge.call(body, authority=bridge.stranger)[0] == grpc.StatusCode.OK, what="over gRPC")


def test_no_secret_was_told_and_nothing_broke(bridge):
    """Last, so that it reads what all the others left."""
    log = bridge.program.log.read_text()
    page = str(bridge.program.metrics())
    for secret in (TOKEN_A, TOKEN_B, PASSWORD, "t0ken-renewed", "$2b$"):
        assert secret not in log
        assert secret not in page
    assert "Traceback" not in log
