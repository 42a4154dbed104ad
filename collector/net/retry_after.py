"""When a destination wants to be asked again: HTTP's Retry-After and gRPC's RetryInfo, in seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status


def http_retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds from a Retry-After header (RFC 9110 section 10.2.3: seconds or a date), or None."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None
    return max(0.0, at - (time.time() if now is None else now))


def grpc_retry_after(error: grpc.RpcError) -> float | None:
    """Seconds from the RetryInfo of a failed call's `grpc-status-details-bin`, or None."""
    trailing: Iterable[tuple[str, str | bytes]] = error.trailing_metadata() or ()  # type: ignore[assignment]
    for key, value in trailing:
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        try:
            status = Status.FromString(value)
        except DecodeError:
            continue  # the destination's affair: its status code counts without
        for detail in status.details:
            info = RetryInfo()
            if detail.Is(RetryInfo.DESCRIPTOR) and detail.Unpack(info):
                return float(info.retry_delay.seconds) + float(info.retry_delay.nanos) / 1e9
    return None
