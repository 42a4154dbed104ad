"""When a destination wants to be asked again."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.collector.net.retry_after import grpc_retry_after, http_retry_after

AT = 1_445_412_480.0  # Wed, 21 Oct 2015 07:28:00 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("120", 120),
        ("1.5", 1.5),
        (" 7 ", 7),
        ("-3", 0),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2015 07:28:30 +0000", 30),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0),
        ("Wed, 21 Oct 201507:28:00 GMT", None),
        ("Wed, 41 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_the_header_of_http(value, seconds):
    assert http_retry_after(value, now=AT) == seconds


def test_a_date_is_told_from_now():
    assert http_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@given(
    st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{1,5} \d\d:\d\d:\d\d [+-]?\w{1,6}")
)
def test_no_header_is_an_error(value):
    found = http_retry_after(value, now=AT)
    assert found is None or found >= 0


class Failed(grpc.RpcError):
    def __init__(self, *trailing):
        self._trailing = trailing

    def trailing_metadata(self):
        return self._trailing


def details(*messages):
    status = Status(code=14)
    for message in messages:
        status.details.add().Pack(message)
    return "grpc-status-details-bin", status.SerializeToString()


IN_1500_MS = RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000))


@pytest.mark.parametrize(
    ("trailing", "seconds"),
    [
        ([], None),
        ([("other", "x")], None),
        ([("grpc-status-details-bin", "text")], None),
        ([details()], None),
        ([details(ErrorInfo(reason="x"))], None),
        ([details(RetryInfo())], 0),
        ([details(IN_1500_MS)], 1.5),
        ([("other", b"x"), details(ErrorInfo(reason="x"), IN_1500_MS)], 1.5),
        ([("grpc-status-details-bin", b"\xff\xff")], None),
    ],
)
def test_the_details_of_grpc(trailing, seconds):
    assert grpc_retry_after(Failed(*trailing)) == seconds


def test_a_failure_without_trailers():
    class Bare(grpc.RpcError):
        def trailing_metadata(self):
            return None

    assert grpc_retry_after(Bare()) is None
