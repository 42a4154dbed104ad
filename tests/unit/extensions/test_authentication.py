"""Who comes in: bearertokenauth, basicauth, and which experiments a tenant may write to."""

import asyncio
import base64
import threading
from pathlib import Path

import bcrypt
import pytest
import urllib3

from spanbridge.collector.config.loading import load
from spanbridge.collector.errors import Busy, ConfigError, Forbidden, Unauthenticated
from spanbridge.collector.extensions import Health
from spanbridge.collector.extensions.authentication import Identity
from spanbridge.collector.extensions.authentication import basic_auth as basic_module
from spanbridge.collector.extensions.authentication.basic_auth import BasicAuthConfig, basic_auth
from spanbridge.collector.extensions.authentication.bearer_token import BearerTokenAuthConfig, bearer_token
from spanbridge.collector.extensions.health_check.build import health_app
from spanbridge.collector.extensions.health_check.config import HealthCheckConfig
from spanbridge.collector.journal.context import dump
from spanbridge.collector.journal.context import load as load_context
from spanbridge.collector.net.pages import serve
from spanbridge.collector.net.tls import TlsServerConfig
from spanbridge.collector.tenancy import check_headers, may_write
from spanbridge.collector.watched_file import WatchedFile
from spanbridge.processors.types import Context
from tests.servers.certificates import Authority

SECRET = "s3cr3t-t0ken"


def bearer(**section):
    return bearer_token(BearerTokenAuthConfig(**section), "extensions::bearertokenauth")


async def refused(authenticate, headers):
    with pytest.raises(Unauthenticated) as refusal:
        await authenticate(headers)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("section", "headers"),
    [
        ({"token": SECRET}, {"authorization": f"Bearer {SECRET}"}),
        ({"token": SECRET}, {"authorization": f"bearer  {SECRET}"}),
        ({"token": SECRET, "scheme": ""}, {"authorization": SECRET}),
        ({"token": SECRET, "scheme": "Token", "header": "X-Key"}, {"x-key": f"Token {SECRET}"}),
        ({"tokens": ["other", SECRET]}, {"authorization": f"Bearer {SECRET}"}),
        ({"tokens": [{"token": SECRET}]}, {"authorization": f"Bearer {SECRET}"}),
    ],
)
async def test_a_known_token_comes_in(section, headers):
    assert await bearer(**section)(headers) == Identity()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": SECRET},
        {"authorization": f"Basic {SECRET}"},
        {"authorization": f"Bearer {SECRET}x"},
        {"authorization": f"Bearer {SECRET[:-1]}"},
        {"authorization": f"Bearer {SECRET}, Bearer {SECRET}"},
        {"authorization": "Bearer \udcff\u20ac"},
        {"x-authorization": f"Bearer {SECRET}"},
    ],
)
async def test_whatever_is_wrong_the_answer_is_the_same(headers):
    assert await refused(bearer(tokens=["other", SECRET]), headers) == "unauthenticated"


async def test_a_token_says_whose_it_is():
    authenticate = bearer(
        tokens=[
            {"token": "a", "tenant": "team-a", "allow_experiments": ["team-a/*", "id:12"]},
            {"token": "b", "tenant": "team-b"},
        ]
    )
    assert await authenticate({"authorization": "Bearer a"}) == Identity("team-a", ("team-a/*", "id:12"))
    assert await authenticate({"authorization": "Bearer b"}) == Identity("team-b")


async def test_a_file_of_tokens_is_read_again_when_it_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("spanbridge.collector.watched_file._INTERVAL", 0.0)
    file = tmp_path / "tokens"
    file.write_text("one\n\ntwo\n")
    authenticate = bearer(filename=str(file), token="passed over")
    for token in ("one", "two"):
        await authenticate({"authorization": f"Bearer {token}"})
    await refused(authenticate, {"authorization": "Bearer passed over"})
    file.write_text("three")
    await authenticate({"authorization": "Bearer three"})
    await refused(authenticate, {"authorization": "Bearer one"})


def test_a_file_that_is_gone_or_spoilt_leaves_what_there_was(tmp_path, caplog):
    now = [0.0]
    file = tmp_path / "numbers"
    file.write_text("7")
    read = WatchedFile("here", str(file), int, lambda: now[0])
    file.write_text("8")
    assert read() == 7  # not every call looks
    now[0] = 2.0
    assert read() == 8
    file.write_text(SECRET)
    now[0] = 4.0
    assert read() == 8
    file.unlink()
    now[0] = 6.0
    assert read() == 8
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ({}, "needs a token"),
        ({"token": "a", "tokens": ["b"]}, "keep one"),
        ({"tokens": ["a", "a"]}, "twice"),
        ({"tokens": [{"token": "a", "filename": "b"}]}, "either token or filename"),
        ({"tokens": [{"tenant": "a"}]}, "either token or filename"),
        ({"tokens": [{"token": "a", "allow_experiments": ["x"]}]}, "needs tenant"),
        ({"tokens": [{"token": "a", "tenant": "t", "allow_experiments": []}]}, "at least 1"),
        ({"token": "a", "header": ""}, "at least 1"),
    ],
)
def test_tokens_that_can_not_be_meant(section, reason):
    with pytest.raises(ValueError, match=reason):
        BearerTokenAuthConfig(**section)


def test_a_file_of_tokens_has_to_be_there(tmp_path):
    (tmp_path / "empty").write_text("\n")
    for name, reason in (("gone", "can't read"), ("empty", "holds no token")):
        with pytest.raises(ConfigError, match=reason):
            bearer(filename=str(tmp_path / name))


def hashed(password, cost=4):
    return bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode()


def basic(inline="", **section):
    htpasswd = {"inline": inline, **section}
    return basic_auth(BasicAuthConfig(htpasswd=htpasswd), "extensions::basicauth")


def credentials(user, password):
    pair = user.encode() + b":" + password
    return {"authorization": "Basic " + base64.b64encode(pair).decode()}


async def test_users_come_in_by_their_passwords():
    authenticate = basic(f"# people\nann:{hashed(b'pa:ss')}\n\nbob:{hashed(b'p' * 72)}\n")
    assert await authenticate(credentials("ann", b"pa:ss")) == Identity("ann")
    assert await authenticate(credentials("bob", b"p" * 80)) == Identity("bob")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Basic"},
        {"authorization": "Basic ###"},
        {"authorization": "Basic " + base64.b64encode(b"ann").decode()},
        {"authorization": "Basic " + base64.b64encode(b"\xff\xfe:x").decode()},
        {"authorization": "Bearer " + base64.b64encode(b"ann:pass").decode()},
        {"authorization": "Basic é"},
        credentials("ann", b"wrong"),
        credentials("ann", b""),
        credentials("ann", b"pass\0"),
        credentials("Ann", b"pass"),
        credentials("nobody", b"pass"),
    ],
)
async def test_whoever_is_not_known_gets_the_same_answer(headers):
    assert await refused(basic(f"ann:{hashed(b'pass')}"), headers) == "unauthenticated"


async def test_a_password_that_was_right_is_not_worked_out_again(monkeypatch):
    worked = []
    monkeypatch.setattr(basic_module, "_matches", lambda password, _: worked.append(password) or password == b"pass")
    authenticate = basic(f"ann:{hashed(b'pass')}")
    for _ in range(3):
        await authenticate(credentials("ann", b"pass"))
    assert worked == [b"pass"]
    for _ in range(2):  # a wrong one is, each time: it may be right after a change
        await refused(authenticate, credentials("ann", b"wrong"))
    assert worked == [b"pass", b"wrong", b"wrong"]


async def test_who_is_not_known_takes_as_much_work(monkeypatch):
    worked = []
    monkeypatch.setattr(basic_module, "_matches", lambda _, known: worked.append(known[:7]) or False)
    authenticate = basic(f"ann:{hashed(b'pass', 5)}")
    for user in ("ann", "nobody"):
        await refused(authenticate, credentials(user, b"x"))
    assert worked == [b"$2b$05$"] * 2


async def test_a_flood_of_passwords_does_not_pile_up(monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(basic_module, "_matches", lambda *_: not go.wait(20))
    authenticate = basic(f"ann:{hashed(b'pass')}")
    attempts = [asyncio.create_task(authenticate(credentials("ann", b"%d" % n))) for n in range(40)]
    try:
        with pytest.raises(Busy):
            await attempts[-1]
    finally:
        go.set()
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    assert {type(answer) for answer in answers} == {Busy, Unauthenticated}


async def test_a_file_of_users_is_read_again_and_lines_in_the_configuration_win(tmp_path, monkeypatch):
    monkeypatch.setattr("spanbridge.collector.watched_file._INTERVAL", 0.0)
    file = tmp_path / "htpasswd"
    file.write_text(f"ann:{hashed(b'old')}\nbob:{hashed(b'bob')}\n")
    authenticate = basic(f"bob:{hashed(b'inline')}", file=str(file))
    await authenticate(credentials("ann", b"old"))
    await authenticate(credentials("bob", b"inline"))
    await refused(authenticate, credentials("bob", b"bob"))
    file.write_text(f"ann:{hashed(b'new')}\n")
    await authenticate(credentials("ann", b"new"))
    await refused(authenticate, credentials("ann", b"old"))


@pytest.mark.parametrize(
    ("inline", "reason"),
    [
        ("", "needs users"),
        ("ann", "line 1"),
        (f"{SECRET}", "line 1"),
        (f"ann:{{SHA}}{SECRET}", "line 1 that is not bcrypt"),
        (f"ann:$apr1${SECRET}$x", "line 1 that is not bcrypt"),
        (f"\nann:{SECRET}", "line 2 that is not bcrypt"),
        ("ann:$2b$31$" + "a" * 53, "cost in line 1"),
    ],
)
def test_weak_and_broken_hashes_are_refused_without_being_shown(inline, reason):
    with pytest.raises(ValueError, match=reason) as refusal:
        BasicAuthConfig(htpasswd={"inline": inline})
    assert SECRET not in str(refusal.value.errors()[0]["msg"])


def test_credentials_for_clients_have_another_place():
    with pytest.raises(ValueError, match="username and password of its own"):
        BasicAuthConfig(htpasswd={"inline": f"a:{hashed(b'a')}"}, client_auth={"username": "x"})


@pytest.mark.parametrize(
    ("experiment", "by_id", "allowed"),
    [
        ("team-a/night", False, True),
        ("team-a/", False, True),
        ("team-a", False, False),
        ("team-b/night", False, False),
        ("Team-a/night", False, False),
        ("id:12", False, False),
        ("12", True, True),
        ("13", True, False),
        ("team-a/12", True, False),
    ],
)
def test_which_experiments(experiment, by_id, allowed):
    assert may_write(("team-a/*", "id:12"), experiment, by_id=by_id) is allowed


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"experiment_name": "team-a/x"}, True),
        ({"experiment_id": "12"}, True),
        ({"experiment_id": "12", "experiment_name": "team-b/x"}, False),
        ({"experiment_id": "1", "experiment_name": "team-a/x"}, False),
        ({"experiment_name": " team-b/x"}, False),
        ({"experiment_name": "team-a/x", "workspace": "other"}, False),
    ],
)
def test_where_headers_may_lead(headers, allowed):
    check_headers(Context(**headers))  # whoever is not bound may go anywhere
    bound = Context(**headers, tenant="team-a", allow_experiments=("team-a/*", "id:12"))
    if allowed:
        check_headers(bound)
    else:
        with pytest.raises(Forbidden):
            check_headers(bound)


def test_the_journal_keeps_what_a_tenant_may():
    context = Context(experiment_name="x", tenant="team-a", allow_experiments=("team-a/*", "id:12"))
    assert load_context(dump(context)) == context


WIRED = """
receivers: {otlp: {protocols: {grpc: {auth: {authenticator: %s}}}}}
exporters: {debug: {}}
extensions: {health_check: {}, bearertokenauth/ours: {token: t}}
service:
  extensions: [health_check, bearertokenauth/ours]
  pipelines: {traces: {receivers: [otlp], exporters: [debug]}}
"""


def test_an_authenticator_has_to_be_one(tmp_path: Path):
    load([f"yaml:{WIRED % 'bearertokenauth/ours'}"], env={})
    with pytest.raises(ConfigError, match="which is no bearertokenauth or basicauth"):
        load([f"yaml:{WIRED % 'health_check'}"], env={})


@pytest.mark.parametrize("section", [{}, {"use_v2": True}])
async def test_health_behind_tls(tmp_path, section):
    authority = Authority(tmp_path)
    pair = authority.issue("health")
    tls = {"cert_file": str(pair.cert), "key_file": str(pair.key), "client_ca_file": str(authority.file)}
    config = HealthCheckConfig.model_validate({**section, "http": {"tls": tls}} if section else {"tls": tls})
    probe = authority.issue("probe")

    def ask(port, **keys):
        with urllib3.PoolManager(retries=False, timeout=10, ssl_context=authority.client_context(), **keys) as pool:
            return pool.request("GET", f"https://localhost:{port}/").status

    async with serve(health_app(Health(ready=True), "/"), "extensions::health_check", "", 0, config.listen_tls) as port:
        shown = {"cert_file": str(probe.cert), "key_file": str(probe.key)}
        assert await asyncio.to_thread(ask, port, **shown) == 200
        with pytest.raises(urllib3.exceptions.HTTPError):
            await asyncio.to_thread(ask, port)


async def test_health_tls_files_are_checked_before_the_port_is_opened():
    tls = TlsServerConfig(cert_file="/gone", key_file="/gone")
    with pytest.raises(ConfigError, match=r"^extensions::health_check::tls::cert_file: can't read '/gone'"):
        async with serve(health_app(Health(), "/"), "extensions::health_check", "", 0, tls):
            pass
