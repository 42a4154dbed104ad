"""Forwards traces over OTLP, gRPC or HTTP: to another Collector, or as a tee beside MLflow.

Which answers may be sent again: OTLP specification, "Failures"; contrib's otlpexporter and otlphttpexporter.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import grpc
import urllib3
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from spanbridge.collector.errors import Held, Permanent, Retryable
from spanbridge.collector.exporters import SerializedTrace
from spanbridge.collector.net.retry_after import grpc_retry_after, http_retry_after
from spanbridge.processors.types import Trace

log = logging.getLogger(__name__)

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
HELD_CODES = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED)
RETRYABLE_CODES = (
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
)
HELD_STATUSES = (401, 403, 404)
PERMANENT_STATUSES = (400, 413, 415, 422)


def merge(traces: Sequence[SerializedTrace]) -> bytes:
    """Return one serialized request of all traces: a concatenation of requests is a request."""
    return b"".join(trace.payload for trace in traces)


class OtlpGrpcExporter:
    """Sends to an OTLP/gRPC endpoint. `timeout` is in seconds, for each attempt."""

    def __init__(self, channel: grpc.Channel, *, timeout: float, headers: Mapping[str, str], compression: str) -> None:
        self._channel = channel
        self._timeout = timeout
        self._metadata = tuple((key.lower(), value) for key, value in headers.items())
        self._compression = grpc.Compression.Gzip if compression == "gzip" else grpc.Compression.NoCompression
        self._export: Callable[..., Any] = channel.unary_unary(
            EXPORT, request_serializer=None, response_deserializer=None
        )

    def group(self, trace: Trace) -> Hashable:
        """All traces may go together."""
        return None

    def send(self, traces: Sequence[SerializedTrace]) -> int:
        """Send; see `Exporter.send`."""
        try:
            answer = self._export(
                merge(traces), timeout=self._timeout, metadata=self._metadata, compression=self._compression
            )
        except grpc.RpcError as error:
            raise _from_grpc(error) from None
        return _rejected(answer)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def _from_grpc(error: grpc.RpcError) -> Exception:
    code, reason = error.code(), f"{error.code().name}: {error.details()}"
    wait = grpc_retry_after(error)
    if code in HELD_CODES:
        return Held(f"{reason}; check the endpoint and its credentials")
    if code in RETRYABLE_CODES or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and wait is not None):
        return Retryable(reason, wait)
    return Permanent(reason)


class OtlpHttpExporter:
    """Sends protobuf to an OTLP/HTTP traces URL. Credentials in the URL become a header, as in Go's client."""

    def __init__(self, pool: urllib3.PoolManager, url: str, *, headers: Mapping[str, str], compression: str) -> None:
        self._pool = pool
        parts = urlsplit(url)
        userinfo, _, host = parts.netloc.rpartition("@")
        self._url = parts._replace(netloc=host).geturl()
        self._shown = f"{parts.scheme}://{host}{parts.path}"  # a query may be a secret
        self._gzip = compression == "gzip"
        named = {name.lower() for name in headers}
        wanted = userinfo and "authorization" not in named
        basic = urllib3.util.make_headers(basic_auth=unquote(userinfo)) if wanted else {}
        self._headers = {"Content-Type": "application/x-protobuf", **basic, **headers}
        if self._gzip:
            self._headers["Content-Encoding"] = "gzip"

    def group(self, trace: Trace) -> Hashable:
        """All traces may go together."""
        return None

    def send(self, traces: Sequence[SerializedTrace]) -> int:
        """Send; see `Exporter.send`."""
        body = merge(traces)
        body = gzip.compress(body, compresslevel=1) if self._gzip else body
        try:
            answer = self._pool.request("POST", self._url, body=body, headers=self._headers)
        except urllib3.exceptions.HTTPError as error:
            raise Retryable(f"{self._shown}: {type(error).__name__}") from None
        if not 200 <= answer.status < 300:  # noqa: PLR2004  the HTTP success range
            raise _from_http(self._shown, answer)
        if "text/html" in answer.headers.get("Content-Type", ""):
            raise Held(f"{self._shown} answered with a web page, perhaps of a login in front of it; check the address")
        return _rejected(answer.data)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()


def _rejected(answer: bytes) -> int:
    """A partial success is a success, and what was rejected must not be sent again (OTLP specification)."""
    try:
        partial = ExportTraceServiceResponse.FromString(answer).partial_success
    except DecodeError:
        return 0  # the status says that it has them
    if partial.rejected_spans:
        log.error("the destination rejected %d spans for good: %.300r", partial.rejected_spans, partial.error_message)
    return max(0, partial.rejected_spans)


def _from_http(url: str, answer: urllib3.BaseHTTPResponse) -> Exception:
    reason = f"{url} answered {answer.status}"
    if answer.status in HELD_STATUSES:
        return Held(f"{reason}; check the address and its credentials")
    if answer.status in PERMANENT_STATUSES:
        return Permanent(reason)
    return Retryable(reason, http_retry_after(answer.headers.get("Retry-After")))
