"""What the MLflow exporter reads from its options and from the environment, and where that sends a trace."""

from __future__ import annotations

import base64
import sys

import pytest

from spanbridge.collector.errors import ConfigError
from spanbridge.collector.exporters.mlflow import MlflowSpanExporter
from spanbridge.collector.exporters.mlflow.routing import Route, Router, bounded
from spanbridge.collector.exporters.mlflow.settings import MlflowSettings, display, settings_from
from spanbridge.processors.attributes import put
from spanbridge.processors.types import Context
from tests.samples.mlflow_traces import add_span, new_trace, whole_trace


def settings(environ=None, **options):
    return settings_from({"HOME": "/nonexistent", **(environ or {})}, **{"tracking_uri": "http://m", **options})


def basic(userinfo):
    return "Basic " + base64.b64encode(userinfo.encode()).decode()


USER = {"MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p:w"}
TOKEN = {"MLFLOW_TRACKING_TOKEN": "t"}


@pytest.mark.parametrize(
    ("environ", "options", "expected"),
    [
        ({}, {}, ""),
        (USER, {}, basic("u:p:w")),
        (TOKEN, {}, "Bearer t"),
        ({**USER, **TOKEN}, {}, basic("u:p:w")),
        ({"MLFLOW_TRACKING_USERNAME": "u", **TOKEN}, {}, "Bearer t"),
        ({}, {"tracking_uri": "http://a:b%40c@m"}, basic("a:b@c")),
        (TOKEN, {"tracking_uri": "http://a:b@m"}, "Bearer t"),
        (USER, {"token": "own"}, "Bearer own"),
        (TOKEN, {"username": "own", "password": "pw"}, basic("own:pw")),
        (TOKEN, {"username": "", "token": None}, "Bearer t"),
    ],
)
def test_credentials(environ, options, expected):
    assert settings(environ, **options).authorization == expected


def test_credentials_of_the_file(tmp_path):
    (tmp_path / ".mlflow").mkdir()
    file = tmp_path / ".mlflow" / "credentials"
    file.write_text("[mlflow]\nmlflow_tracking_username = u\nmlflow_tracking_password = 100%\n")
    home = {"HOME": str(tmp_path)}
    assert settings(home).authorization == basic("u:100%")
    assert settings({**home, "MLFLOW_TRACKING_PASSWORD": "env"}).authorization == basic("u:env")
    file.write_text("not an INI file")
    with pytest.raises(ConfigError, match="correct or remove it"):
        settings(home)


def test_no_secret_is_shown():
    shown = repr(settings(username="u", password="secret-password", token="secret-token"))
    assert "secret" not in shown


def test_the_address_holds_no_secret():
    assert settings(tracking_uri="https://a:b@m:1/prefix/").tracking_uri == "https://m:1/prefix"
    assert display("postgresql://user:secret@host/db") == "postgresql://host/db"
    assert display("sqlite:////tmp/x.db") == "sqlite:////tmp/x.db"


def test_the_environment_fills_what_is_not_given():
    environ = {
        "MLFLOW_TRACKING_URI": "http://env",
        "MLFLOW_EXPERIMENT_NAME": "env",
        "MLFLOW_TRACKING_INSECURE_TLS": "true",
        "MLFLOW_TRACKING_SERVER_CERT_PATH": "ca.pem",
        "MLFLOW_TRACKING_CLIENT_CERT_PATH": "me.pem",
        "MLFLOW_WORKSPACE": "w",
    }
    found = settings(environ, tracking_uri=None, experiment=None)
    assert (found.tracking_uri, found.experiment, found.workspace) == ("http://env", "env", "w")
    assert (found.insecure_skip_verify, found.ca_file, found.cert_file) == (True, "ca.pem", "me.pem")
    found = settings(environ, experiment="given", insecure_skip_verify=False)
    assert (found.tracking_uri, found.experiment, found.insecure_skip_verify) == ("http://m", "given", False)


def test_a_given_name_is_not_overruled_by_an_id_of_the_environment():
    environ = {"MLFLOW_EXPERIMENT_ID": "5"}
    assert settings(environ).experiment_id == "5"
    assert settings(environ, experiment="name").experiment_id == ""


@pytest.mark.parametrize(("value", "experiment_id", "catalog"), [("7", "7", ""), ("main.traces", "", "main.traces")])
def test_the_tracing_destination(value, experiment_id, catalog):
    environ = {"MLFLOW_TRACING_DESTINATION": value}
    found = settings(environ)
    assert (found.experiment_id, found.unity_catalog) == (experiment_id, catalog)
    found = settings(environ, experiment="name")
    assert (found.experiment_id, found.unity_catalog) == ("", "")


def test_faults_of_the_user():
    with pytest.raises(ConfigError, match="set it here or in MLFLOW_TRACKING_URI"):
        settings(tracking_uri=None)
    with pytest.raises(ConfigError, match="'ftp://x' is no MLflow address; write http"):
        MlflowSpanExporter("ftp://x", environ={})
    with pytest.raises(TypeError, match="typo"):
        MlflowSpanExporter("http://m", typo=1, environ={})


def route(template, trace, **options):
    return Router(MlflowSettings(tracking_uri="http://m", experiment=template, **options))(trace)


def with_resource(**attributes):
    trace = whole_trace()
    for key, value in attributes.items():
        put(trace.batch.resource_spans[0].resource.attributes, key, value)
    return trace


@pytest.mark.parametrize(
    ("template", "attributes", "expected"),
    [
        ("", {}, "Default"),
        ("fixed", {}, "fixed"),
        ("{service.name}", {}, "shop"),
        ("team-{team}/{service.name}", {"team": "blue"}, "team-blue/shop"),
        ("team-{team}/{service.name}", {}, "Default"),
        ("{team}", {"team": ""}, "Default"),
        ("{team}", {"team": 7}, "7"),
        ("{team}", {"team": "{service.name}"}, "{service.name}"),
        ("{team}", {"team": " a\nb\x00\x1b "}, "ab\ufffd"),
        ("/Shared/{team}", {"team": "../Users/bob"}, "/Shared/.._Users_bob"),
        ("{team}", {"team": "a/b"}, "a/b"),
    ],
)
def test_the_template(template, attributes, expected):
    assert route(template, with_resource(**attributes)).experiment == expected


def test_the_template_reads_the_roots_resource():
    trace = new_trace("first")
    add_span(trace, "child", b"the-root")
    put(trace.batch.resource_spans.add().resource.attributes, "service.name", "second")
    assert route("{service.name}", trace).experiment == "first"
    add_span(trace, "root", span_id=b"the-root", resource=1)
    assert route("{service.name}", trace).experiment == "second"


@pytest.mark.parametrize("template", ["{", "a}", "{}", "{a{b}}"])
def test_a_template_that_is_none(template):
    with pytest.raises(ConfigError, match="is no template"):
        route(template, whole_trace())


def test_long_names_stay_apart():
    one, other = bounded("n" * 300 + "1"), bounded("n" * 300 + "2")
    assert len(one) == len(other) == 250
    assert one != other


@pytest.mark.parametrize(
    ("context", "options", "expected"),
    [
        (Context(), {}, Route("name")),
        (Context(), {"experiment_id": "1"}, Route("1", by_id=True)),
        (Context(experiment_name="asked\n"), {"experiment_id": "1"}, Route("asked", by_client=True)),
        (Context(experiment_id="2", experiment_name="asked"), {}, Route("2", by_id=True, by_client=True)),
        (Context(experiment_name="\n"), {}, Route("name")),
        (Context(), {"run_id": "r", "workspace": "w"}, Route("name", run_id="r", workspace="w")),
        (
            Context(run_id="own", workspace="own"),
            {"run_id": "r", "workspace": "w"},
            Route("name", run_id="own", workspace="own"),
        ),
    ],
)
def test_who_decides(context, options, expected):
    assert route("name", whole_trace(context=context), **options) == expected


@pytest.mark.parametrize(
    "uri", ["sqlite:///mlflow.db", "postgresql://host/mlflow", "databricks", "databricks://profile"]
)
def test_a_destination_that_needs_mlflow_says_what_to_install(monkeypatch, uri):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match="needs MLflow, which is not installed: pip install spanbridge"):
        settings_from({}, tracking_uri=uri)
    assert settings_from({}, tracking_uri="http://mlflow").tracking_uri == "http://mlflow"
