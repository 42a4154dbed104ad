"""What the answers of a server mean."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from spanbridge.collector.errors import Held, Permanent, Retryable
from spanbridge.collector.exporters.mlflow.server.rest import Reply, checked, fault, retry_after

URI = "http://mlflow:5000"


def reply(status, body=b"", **headers):
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_worth_another_attempt(status):
    error = fault(reply(status, b'{"message": "busy"}', Retry_After="7"), URI)
    assert type(error) is Retryable
    assert (str(error), error.retry_after) == (f"http://mlflow:5000 answers {status}: busy", 7)


@pytest.mark.parametrize(
    ("status", "body", "mend"),
    [
        (401, b"", "MLFLOW_TRACKING_USERNAME"),
        (
            403,
            b"Invalid Host header - possible DNS rebinding attack detected",
            "MLFLOW_SERVER_ALLOWED_HOSTS=mlflow:5000",
        ),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', "give this user EDIT"),
        (404, b'{"detail": "Not Found"}', "static prefix"),
        (405, b"", "static prefix"),
        (501, b'{"detail": "REST OTLP span logging is not supported by FileStore"}', "a database as its backend store"),
        (302, b"", "use that address"),
    ],
)
def test_an_operator_has_to_mend(status, body, mend):
    error = fault(reply(status, body, Location="https://elsewhere"), URI)
    assert isinstance(error, Held)
    assert mend in str(error)


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422, 431])
def test_the_data_is_refused(status):
    error = fault(reply(status, b'{"message": "bad span\\n[SQL: with its parameters]"}'), URI)
    assert type(error) is Permanent
    assert str(error) == f"http://mlflow:5000 answers {status}: bad span"


def test_success():
    found = reply(200, b"", Content_Type="application/x-protobuf")
    assert checked(found, URI) is found
    with pytest.raises(Held, match="no MLflow server or a login"):
        checked(reply(200, b"<html>", Content_Type="text/html; charset=utf-8"), URI)


@pytest.mark.parametrize(
    ("value", "expected"), [("", None), ("3", 3), ("soon", None), ("-1", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)]
)
def test_retry_after(value, expected):
    assert retry_after({"Retry-After": value}) == expected


def test_retry_after_as_a_date():
    found = retry_after({"Retry-After": formatdate(time.time() + 100, usegmt=True)})
    assert found == pytest.approx(100, abs=3)


def test_a_body_that_is_no_json():
    found = reply(400, b"\xff plain")
    assert (found.json, found.error_code, found.message) == ({}, "", "\ufffd plain")
