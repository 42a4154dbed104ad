"""Can I reach and write to MLflow? Each fault is named with its mend.

What needs a real server is in test_mlflow_tracking_server.py, which has one running.
"""

from __future__ import annotations

import base64

import pytest

from spanbridge.collector.exporters.mlflow.check import check
from tests.fakes import Answer, Databricks, Seen, http_server
from tests.servers.mlflow_servers import postgres, postgres_bin

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),  # at the import of mlflow
    pytest.mark.timeout(180),
]


def sentences(*args, **options):
    return [(finding.ok, finding.sentence) for finding in check(*args, **{"environ": {}, **options})]


def fault(*args, **options):
    *_, (ok, sentence) = sentences(*args, **options)
    assert not ok
    return sentence


class Guarded:
    """A server with Basic authentication that answers as mlflow/server/auth does: bob may read, ann may write."""

    def __call__(self, seen: Seen) -> Answer:
        kind, _, word = seen.headers.get("authorization", "").partition(" ")
        user = base64.b64decode(word).decode() if kind == "Basic" else ""
        if user not in ("bob:right", "ann:right"):
            return Answer(401, b"You are not authenticated.", {"Content-Type": "text/html"})
        if seen.path == "/version":
            return Answer(body=b"3.17.2")
        if seen.path.endswith("get-by-name"):
            name = seen.query["experiment_name"]
            return Answer(body={"experiment": {"experiment_id": "1", "name": name, "lifecycle_stage": "active"}})
        if seen.path == "/v1/traces" and user.startswith("bob"):
            return Answer(403, b"Permission denied", {"Content-Type": "text/plain"})
        return Answer()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "set MLFLOW_TRACKING_USERNAME and _PASSWORD"),
        ({"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "wrong"}, "credentials are missing or wrong"),
        ({"MLFLOW_TRACKING_USERNAME": "bob", "MLFLOW_TRACKING_PASSWORD": "right"}, "give this user EDIT"),
    ],
)
def test_faults_of_credentials(environ, expected):
    with http_server(Guarded()) as address:
        assert expected in fault(address, environ=environ)


def test_an_address_without_a_server():
    assert "can't be reached" in fault("http://127.0.0.1:1")
    assert "is no MLflow address" in fault("ftp://x")


def test_credentials_that_do():
    environ = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "right", "MLFLOW_TRACKING_TOKEN": "t"}
    with http_server(Guarded()) as address:
        assert all(ok for ok, _ in sentences(address, environ=environ))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"/version": Answer(body=b"<html>", headers={"Content-Type": "text/html"})}, "a web page"),
        ({"/version": Answer(body=b"hello")}, "is no MLflow server"),
        ({"/version": Answer(302, headers={"Location": "https://x"})}, "use that address"),
        ({"/version": Answer(body=b"3.5.0")}, "upgrade it to 3.14"),
        (
            {
                "/version": Answer(body=b"3.17.2"),
                "/api/3.0/mlflow/server-info": Answer(body={"store_type": "FileStore"}),
            },
            "a database as its --backend-store-uri",
        ),
    ],
)
def test_other_servers(answers, expected):
    with http_server(lambda seen: answers.get(seen.path, Answer(404))) as address:
        assert expected in fault(address)


def test_a_database(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert sentences(uri, "new") == [
        (True, f"{uri} is reached"),
        (True, "experiment 'new' will be created"),
        (True, "traces can be written to it"),
    ]
    assert "Connection refused" in fault("postgresql+psycopg2://127.0.0.1:1/x")


@pytest.mark.skipif(postgres_bin() is None, reason="PostgreSQL's initdb and pg_ctl are not installed")
def test_a_database_user_without_rights():
    import psycopg2  # noqa: PLC0415  only here

    with postgres() as uri:
        assert all(ok for ok, _ in sentences(uri))
        with psycopg2.connect(uri) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE USER reader")
            cursor.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        connection.close()
        assert "grant this user the tables" in fault(uri.replace("mlflow@", "reader@"))


def test_databricks():
    workspace = Databricks()
    with workspace.running() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABRICKS_HOST", address)
        patch.setenv("DATABRICKS_TOKEN", "secret-token")
        assert sentences("databricks", "main.traces") == [
            (True, f"{address} is reached and has the schema main.traces")
        ]
        assert "not found" in fault("databricks", "main.nothing")
