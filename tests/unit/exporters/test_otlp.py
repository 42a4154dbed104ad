"""What an OTLP destination's answer means, over gRPC and HTTP."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import urllib3
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from spanbridge.collector.errors import ExportError, Held, Permanent, Retryable
from spanbridge.collector.exporters.otlp.exporter import EXPORT, OtlpGrpcExporter, OtlpHttpExporter
from spanbridge.processors.types import Batch, Trace, span_count
from tests.fakes import Answer, http_server
from tests.samples.spans import trace_batch
from tests.samples.traces import serialized


def traces():
    return [Trace(b"1" * 16, trace_batch(size=2)), Trace(b"2" * 16, trace_batch(size=3))]


class Service(grpc.GenericRpcHandler):
    """Answers every export with `code` (and RetryInfo of `wait` seconds), and keeps what came."""

    def __init__(self, code=grpc.StatusCode.OK, wait=None):
        self.code, self.wait = code, wait
        self.requests, self.metadata, self.answer = [], {}, b""

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.export) if details.method == EXPORT else None

    def export(self, request, context):
        self.requests.append(Batch.FromString(request))
        self.metadata = dict(context.invocation_metadata())
        if self.wait is not None:
            status = Status(code=self.code.value[0])
            status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=self.wait)))
            context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
        if self.code is not grpc.StatusCode.OK:
            context.abort(self.code, "because")
        return self.answer


@contextlib.contextmanager
def grpc_exporter(service, **options):
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers([service])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        settings = {"timeout": 5.0, "headers": {}, "compression": "gzip", **options}
        exporter = OtlpGrpcExporter(grpc.insecure_channel(f"127.0.0.1:{port}"), **settings)
        try:
            yield exporter
        finally:
            exporter.close()
            server.stop(0).wait()


def failure(exporter) -> ExportError:
    with pytest.raises(ExportError) as caught:
        exporter.send(serialized(traces()))
    return caught.value


@pytest.mark.parametrize("compression", ["gzip", "none", ""])
def test_all_traces_go_in_one_call(compression):
    service = Service()
    with grpc_exporter(service, compression=compression, headers={"X-Team": "a"}) as exporter:
        sent = traces()
        assert exporter.group(sent[0]) == exporter.group(sent[1])
        exporter.send(serialized(sent))
        exporter.send(serialized(sent))
    assert [span_count(request) for request in service.requests] == [5, 5]
    assert service.metadata["x-team"] == "a"


@pytest.mark.parametrize(
    ("code", "wait", "kind"),
    [
        ("CANCELLED", None, Retryable),
        ("DEADLINE_EXCEEDED", None, Retryable),
        ("ABORTED", None, Retryable),
        ("OUT_OF_RANGE", None, Retryable),
        ("UNAVAILABLE", None, Retryable),
        ("UNAVAILABLE", 7, Retryable),
        ("DATA_LOSS", None, Retryable),
        ("UNKNOWN", None, Retryable),
        ("INTERNAL", None, Retryable),
        ("RESOURCE_EXHAUSTED", 7, Retryable),
        ("RESOURCE_EXHAUSTED", None, Permanent),
        ("INVALID_ARGUMENT", None, Permanent),
        ("NOT_FOUND", None, Permanent),
        ("ALREADY_EXISTS", None, Permanent),
        ("FAILED_PRECONDITION", None, Permanent),
        ("UNAUTHENTICATED", None, Held),
        ("PERMISSION_DENIED", None, Held),
        ("UNIMPLEMENTED", None, Held),
    ],
)
def test_what_a_code_means(code, wait, kind):
    with grpc_exporter(Service(grpc.StatusCode[code], wait)) as exporter:
        error = failure(exporter)
    assert type(error) is kind
    assert code in str(error)
    assert "because" in str(error)
    if kind is Retryable:
        assert error.retry_after == wait


def test_every_code_of_grpc_means_something():
    for code in set(grpc.StatusCode) - {grpc.StatusCode.OK}:
        with grpc_exporter(Service(code)) as exporter:
            assert isinstance(failure(exporter), ExportError)


def test_nobody_listens():
    exporter = OtlpGrpcExporter(grpc.insecure_channel("127.0.0.1:1"), timeout=2, headers={}, compression="")
    assert type(failure(exporter)) is Retryable
    exporter.close()


def http_exporter(address, **options):
    settings = {"headers": {}, "compression": "gzip", **options}
    pool = urllib3.PoolManager(retries=False, timeout=2)
    return OtlpHttpExporter(pool, f"{address}/v1/traces", **settings)


@pytest.mark.parametrize("compression", ["gzip", "none", ""])
def test_all_traces_go_in_one_request(compression):
    seen = []

    def respond(request):
        seen.append(request)
        return Answer()

    with http_server(respond) as address:
        exporter = http_exporter(address, compression=compression, headers={"X-Team": "a"})
        exporter.send(serialized(traces()))
        exporter.close()
    [request] = seen
    assert (request.method, request.path) == ("POST", "/v1/traces")
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers.get("content-encoding", "") == ("gzip" if compression == "gzip" else "")
    assert request.headers["x-team"] == "a"
    assert span_count(Batch.FromString(request.body)) == 5


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, None),
        (202, None),
        (301, Retryable),
        (307, Retryable),
        (400, Permanent),
        (401, Held),
        (403, Held),
        (404, Held),
        (408, Retryable),
        (413, Permanent),
        (415, Permanent),
        (422, Permanent),
        (429, Retryable),
        (500, Retryable),
        (501, Retryable),
        (502, Retryable),
        (503, Retryable),
        (504, Retryable),
    ],
)
def test_what_a_status_means(status, kind):
    with http_server(lambda _: Answer(status, b"", {"Retry-After": "3"})) as address:
        exporter = http_exporter(address)
        if kind is None:
            exporter.send(serialized(traces()))
            return
        error = failure(exporter)
    assert type(error) is kind
    assert str(status) in str(error)
    if kind is Retryable:
        assert error.retry_after == 3


def test_a_page_is_no_success():
    with http_server(lambda _: Answer(200, b"<html>", {"Content-Type": "text/html"})) as address:
        assert type(failure(http_exporter(address))) is Held


PARTIAL = ExportTraceServiceResponse()
PARTIAL.partial_success.rejected_spans = 2
PARTIAL.partial_success.error_message = "too\nold"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (PARTIAL.SerializeToString(), ["the destination rejected 2 spans for good: 'too\\nold'"]),
        (ExportTraceServiceResponse().SerializeToString(), []),
        (b"\xff\xff", []),
    ],
)
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_a_partial_success_rejects_is_told_and_not_sent_again(protocol, answer, told, caplog):
    if protocol == "grpc":
        service = Service()
        service.answer = answer
        with grpc_exporter(service) as exporter:
            rejected = exporter.send(serialized(traces()))
    else:
        with http_server(lambda _: Answer(200, answer)) as address:
            rejected = http_exporter(address).send(serialized(traces()))
    assert caplog.messages == told
    assert rejected == 2 * len(told)


def test_nobody_listens_over_http():
    assert type(failure(http_exporter("http://127.0.0.1:1"))) is Retryable
