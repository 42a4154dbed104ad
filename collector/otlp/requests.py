"""OTLP requests and responses: decoding, encoding, limits, and errors as gRPC and HTTP status. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import orjson
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from spanbridge.collector.errors import Busy, Forbidden, Invalid, Refusal, TooLarge, Unauthenticated
from spanbridge.collector.otlp import json_format as otlp_json
from spanbridge.processors.types import Batch, Logs, Request, span_count

R = TypeVar("R", Batch, Logs)

Encoding: TypeAlias = Literal["protobuf", "json"]

CONTENT_TYPES: Mapping[Encoding, str] = {"protobuf": "application/x-protobuf", "json": "application/json"}

BAD_IDS = "a trace id is 16 bytes and a span id 8, and neither is all zeros"

_MAX_EXPANSION = 90
"""Bytes that one byte of a hand-made request becomes: empty spans take 2 bytes sent and 177 decoded (upb, measured)."""

_MAX_DECODED = 16
"""Decoded, a request may take about this many times the size limit. Real ones count for 2 to 9 times their size."""

_LENGTH_DELIMITED = 2
_TAG_OR_SMALL = bytes(
    ord("S") if byte & 0x78 == 0 else ord("T") if byte & 7 == _LENGTH_DELIMITED else ord(".") for byte in range(256)
)
"""Protobuf's bytes by what they may be: a small number, also in more bytes than it needs; a length-delimited tag."""

_MAX_MESSAGE = 1000
"""Characters of a refusal's text that are sent: gRPC clients take 8 KiB of trailers in all."""


def decode(kind: type[R], encoding: Encoding, body: bytes | bytearray, limit: int) -> R:
    """Return the request in a body that is not compressed.

    Args:
        kind: `Batch` or `Logs`, what the endpoint takes.
        encoding: How it is encoded.
        body: The body.
        limit: Bytes that it may have, and 16 times as many decoded.

    Raises:
        Invalid: It is no such request.
        TooLarge: It is over the limit, or would take far more memory than that once decoded.
    """
    if len(body) > limit:
        raise TooLarge(f"the request is larger than the limit of {limit} bytes")
    if len(body) * _MAX_EXPANSION > limit * _MAX_DECODED and _decoded_size(encoding, body) > limit * _MAX_DECODED:
        raise TooLarge("the request consists of more tiny values than there is memory for; send fewer at a time")
    if encoding == "json":
        return otlp_json.parse(kind, body)
    try:
        return kind.FromString(body)  # type: ignore[arg-type]  # any buffer does
    except DecodeError as error:
        raise Invalid("the body is not a valid OTLP protobuf message") from error


def _decoded_size(encoding: Encoding, body: bytes | bytearray) -> int:
    """Return an upper bound of the bytes that a request takes once decoded, at C speed.

    It has to be known before decoding: afterwards the memory is gone. Only protobuf messages of a few bytes grow beyond
    measure; each begins with a tag of a length-delimited field and a length below 8. Counting all such pairs of bytes,
    which chance puts into other values too, errs on the safe side. In JSON each message has a brace.
    """
    if encoding == "json":
        return len(body) + 240 * (body.count(b"{") + body.count(b"["))
    return len(body) + 2 * _MAX_EXPANSION * body.translate(_TAG_OR_SMALL).count(b"TS")


def count(request: Request) -> int:
    """Return how many spans or log records a request holds."""
    if isinstance(request, Batch):
        return span_count(request)
    return sum(len(scope.log_records) for resource in request.resource_logs for scope in resource.scope_logs)


def drop_bad_ids(batch: Batch) -> int:
    """Remove the spans whose ids are not valid (W3C Trace Context, OTLP trace.proto), in place.

    Returns:
        How many were removed.
    """
    dropped = 0
    for resource_spans in batch.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            spans = scope_spans.spans
            good = [span for span in spans if _is_id(span.trace_id, 16) and _is_id(span.span_id, 8)]
            if len(good) < len(spans):
                dropped += len(spans) - len(good)
                del spans[:]
                spans.extend(good)
    return dropped


def _is_id(value: bytes, size: int) -> bool:
    return len(value) == size and value != bytes(size)


def encode_response(kind: type[Request], encoding: Encoding, rejected: int = 0) -> bytes:
    """Return the body of the answer to a request that was accepted, but for `rejected` spans with bad ids.

    These are a partial success (OTLP specification, "Partial Success"): the sender must not send again.
    """
    message = f"{rejected} spans rejected: {BAD_IDS}" if rejected else ""
    if encoding == "json":
        partial = {"partialSuccess": {"rejectedSpans": str(rejected), "errorMessage": message}}
        return orjson.dumps(partial if rejected else {})
    if kind is Logs:
        return ExportLogsServiceResponse().SerializeToString()
    response = ExportTraceServiceResponse()
    if rejected:
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = message
    return response.SerializeToString()


@dataclass(frozen=True, slots=True)
class Status:
    """A refusal in both protocols' terms.

    Attributes:
        grpc: The gRPC status code.
        http: The HTTP status code.
        message: What the client is told.
        retry_after: Seconds after which it may send again; None says nothing about when.
    """

    grpc: int
    http: int
    message: str
    retry_after: float | None = None

    @property
    def retry_after_header(self) -> str | None:
        """Return the value of the header Retry-After, which knows whole seconds only; None for no header."""
        return None if self.retry_after is None else str(max(1, math.ceil(self.retry_after)))


_STATUS = (
    (Invalid, 3, 400),
    (TooLarge, 8, 413),
    (Unauthenticated, 16, 401),
    (Forbidden, 7, 403),
    (Exception, 14, 503),
)
"""The gRPC and HTTP status of each refusal, the first that fits. UNAVAILABLE for `Busy` and what is not foreseen."""


def status_of(error: Exception) -> Status:
    """Return what to answer when a request was not accepted.

    As in the Collector (otlpreceiver/internal/errors) an error of unknown kind is UNAVAILABLE, so that the client sends
    again; its text stays here, as it may hold what clients should not see.
    """
    code, http = next((code, http) for kind, code, http in _STATUS if isinstance(error, kind))
    message = str(error)[:_MAX_MESSAGE] if isinstance(error, Refusal) else "the request can't be taken in right now"
    return Status(code, http, message, error.retry_after if isinstance(error, Busy) else None)


def encode_status(status: Status, encoding: Encoding) -> bytes:
    """Return the google.rpc.Status of a refusal, with a RetryInfo when there is something to say about when."""
    if encoding == "json":
        return orjson.dumps(_status_json(status))
    message = RpcStatus(code=status.grpc, message=status.message)
    if status.retry_after is not None:
        info = RetryInfo()
        info.retry_delay.FromNanoseconds(round(status.retry_after * 1e9))
        message.details.add().Pack(info)
    return bytes(message.SerializeToString())


def _status_json(status: Status) -> dict[str, object]:
    plain: dict[str, object] = {"code": status.grpc, "message": status.message}
    if status.retry_after is not None:
        delay = f"{status.retry_after:.9f}".rstrip("0").rstrip(".") + "s"
        plain["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    return plain
