"""The time after which a destination wants to be asked again: HTTP's Retry-After and gRPC's RetryInfo, in seconds.

What is malformed counts as not said: when to try again is then the caller's to choose.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status


def http_retry_after(value: str | None, now: float | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110 section 10.2.3: seconds or a date).

    Args:
        value: The header's value; None if there was none.
        now: Unix seconds, to which a date is compared; None for the clock's.

    Returns:
        At least 0; None if nothing is said.
    """
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
    """Return the seconds that the RetryInfo in a failed call's `grpc-status-details-bin` asks for, None without one."""
    trailing: Iterable[tuple[str, str | bytes]] = error.trailing_metadata() or ()  # type: ignore[assignment]
    for key, value in trailing:
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        try:
            status = Status.FromString(value)
        except DecodeError:
            continue  # the destination's fault; its status code counts all the same
        for detail in status.details:
            info = RetryInfo()
            if detail.Is(RetryInfo.DESCRIPTOR) and detail.Unpack(info):
                return float(info.retry_delay.seconds) + float(info.retry_delay.nanos) / 1e9
    return None
