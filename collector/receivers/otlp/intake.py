"""What both transports do with a request: who sends it, what it holds, does the pipeline take it, what to answer."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, NamedTuple, Self, TypeAlias

from spanbridge.collector.errors import Busy, Invalid, Refusal, TooLarge
from spanbridge.collector.otlp import requests as otlp
from spanbridge.collector.otlp.compression import decompress
from spanbridge.collector.otlp.requests import Encoding, R, Status
from spanbridge.collector.receivers import Accept, Authenticate, Identity
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.collector.tenancy import check_headers
from spanbridge.processors.limits import CountLimits, trim, truncate
from spanbridge.processors.types import Batch, Context, Logs

logger = logging.getLogger(__name__)

CONTEXT_HEADERS: Mapping[str, str] = {
    "x-mlflow-experiment-id": "experiment_id",
    "x-mlflow-experiment-name": "experiment_name",
    "x-mlflow-run-id": "run_id",
    "x-mlflow-workspace": "workspace",
}
_MAX_HEADER_VALUE = 500
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_INLINE_WORK = 1 << 20
_SLOW = 16
"""JSON and compressed bodies cost up to this many times a plain protobuf body of their size; beyond _INLINE_WORK
(about 1 ms) decoding leaves the event loop, so that one large request does not hold up the small ones."""

_ROOM = 4
"""Bytes being taken in at once over one transport, in requests of the largest size."""

_LOG_INTERVAL = 10.0

_NOBODY = Identity()


@dataclass(frozen=True, slots=True)
class Receiver:
    """What a receiver's transports share. `id` is the component id, `logs` None means that logs are not taken.

    `max_value` is the length to which attribute values are cut, in characters; 0 leaves them as they are. Of a span
    with more than `counts` the rest is dropped; a request of more spans or records than `max_items` is refused.
    """

    id: str
    telemetry: Telemetry
    traces: Accept
    logs: Accept | None = None
    authenticate: Authenticate | None = None
    max_value: int = 0
    counts: CountLimits | None = None
    max_items: int = sys.maxsize


class Room:
    """Bytes of requests under way, bounded: above it the next one is asked to come again.

    Half of it is the most that one client has, so that one who is slow with large requests shuts out no other.
    """

    def __init__(self, max_bytes: int) -> None:
        self.capacity = _ROOM * max_bytes
        self.used = 0
        self._shares: dict[str, int] = {}

    def take(self, client: str, size: int) -> None:
        """Count bytes for a client. Raises `Busy` when there is no room for them."""
        share = self._shares.get(client, 0) + size
        if self.used + size > self.capacity or share > self.capacity // 2:
            raise Busy("too many requests at once")
        self.used += size
        self._shares[client] = share

    def give_back(self, client: str, size: int) -> None:
        """What was taken."""
        self.used -= size
        if share := self._shares.pop(client, 0) - size:
            self._shares[client] = share


class Hold:
    """One request's part of a `Room`; a context manager that gives it back. `client` is whose it is."""

    def __init__(self, room: Room) -> None:
        self.client = ""
        self._room = room
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bytes:
            self._room.give_back(self.client, self._bytes)

    def add(self, size: int) -> None:
        """Count `size` more bytes. Raises `Busy` when there is no room for them."""
        self._room.take(self.client, size)
        self._bytes += size


class Body(NamedTuple):
    """A request's body as it was sent; `coding` is one of compression.CODINGS or empty."""

    data: bytes | bytearray
    coding: str = ""


Read: TypeAlias = Callable[[Hold], Awaitable[Body]]
"""Reads the body, counting its bytes as they come in; raises a `Refusal` when there is something wrong with it."""


class Intake(Generic[R]):
    """The way in of one signal over one transport of a receiver."""

    def __init__(self, kind: type[R], receiver: Receiver, transport: Literal["grpc", "http"], room: Room) -> None:
        accept = receiver.traces if kind is Batch else receiver.logs
        if accept is None:
            raise ValueError(f"the receiver {receiver.id} takes no {kind.__name__}")
        self._kind: type[R] = kind
        self._accept = accept
        self._receiver = receiver
        self._room = room
        self.max_bytes = room.capacity // _ROOM
        telemetry, labels = receiver.telemetry, (receiver.id, transport)
        spans = (telemetry.accepted_spans, telemetry.refused_spans, telemetry.failed_spans)
        logs = (telemetry.accepted_logs, telemetry.refused_logs, telemetry.failed_logs)
        self._accepted, self._refused, self._failed = (
            counter.labels(*labels) for counter in (logs if kind is Logs else spans)
        )
        self._truncated = telemetry.truncated_values.labels(*labels)
        self._dropped = telemetry.dropped_elements.labels(*labels)
        self._rejected = telemetry.rejected_spans.labels(*labels)
        self._outcome = {o: telemetry.requests.labels(*labels, o) for o in ("success", "refused", "failure")}
        self._next_log = 0.0

    async def __call__(
        self, headers: dict[str, str], read: Read, encoding: Encoding = "protobuf", *, peer: str
    ) -> bytes | Status:
        """Take one request in: the answer's body once what it holds is durable, or why not.

        `headers` in lower case; `peer` is the address of the client, who is known by it unless it is by its tenant.
        """
        try:
            with Hold(self._room) as hold:
                context = await self._context(headers)
                hold.client = context.tenant or peer
                body = await read(hold)
                request, rejected = await self._opened(body, encoding)
                await self._hand_over(request, context)
        except Exception as error:  # noqa: BLE001  whatever went wrong, the client gets the answer that fits
            return self._status(error)
        if rejected:
            self._rejected.inc(rejected)
        self._outcome["success"].inc()
        return otlp.encode_response(self._kind, encoding, rejected)

    async def _context(self, headers: dict[str, str]) -> Context:
        authenticate = self._receiver.authenticate
        who = await authenticate(headers) if authenticate else _NOBODY
        given: dict[str, Any] = {
            field: _header(name, headers[name]) for name, field in CONTEXT_HEADERS.items() if name in headers
        }
        sender = Context(tenant=who.tenant, receiver=self._receiver.id, allow_experiments=who.allow_experiments)
        context = replace(sender, **given)
        check_headers(context)
        return context

    async def _opened(self, body: Body, encoding: Encoding) -> tuple[R, int]:
        work = len(body.data) * (_SLOW if body.coding or encoding == "json" else 1)
        if work > _INLINE_WORK:
            return await asyncio.to_thread(self._open, body, encoding)
        return self._open(body, encoding)

    def _open(self, body: Body, encoding: Encoding) -> tuple[R, int]:
        plain = decompress(body.coding, body.data, self.max_bytes)
        request = otlp.decode(self._kind, encoding, plain, self.max_bytes)
        limits = self._receiver
        if (items := otlp.count(request)) > limits.max_items:
            raise TooLarge(f"the request holds {items} items, the limit is {limits.max_items}; send fewer at a time")
        if limits.counts and len(plain) > limits.counts.reach:
            self._dropped.inc(trim(request, limits.counts))
        if 0 < self._receiver.max_value < len(plain):  # which nearly all requests are too small for
            self._truncated.inc(truncate(request, self._receiver.max_value))
        return request, otlp.drop_bad_ids(request) if isinstance(request, Batch) else 0

    async def _hand_over(self, request: R, context: Context) -> None:
        count = otlp.count(request)
        if not count:
            return
        try:
            await self._accept(request, context)
        except Refusal:
            self._refused.inc(count)
            raise
        except Exception:
            self._failed.inc(count)
            raise
        self._accepted.inc(count)

    def _status(self, error: Exception) -> Status:
        foreseen = isinstance(error, Refusal)
        self._outcome["refused" if foreseen else "failure"].inc()
        if not foreseen and (now := time.monotonic()) >= self._next_log:
            self._next_log = now + _LOG_INTERVAL
            # without the error's text, which may hold a payload or a secret
            where = "".join(traceback.format_tb(error.__traceback__))
            logger.error("%s failed on a request (%s)\n%s", self._receiver.id, type(error).__name__, where)
        return otlp.status_of(error)


def _header(name: str, value: str) -> str:
    """A context header's value; what could forge a log line or swell the journal is refused."""
    if len(value) > _MAX_HEADER_VALUE or _CONTROL.search(value):
        raise Invalid(f"{name} must be at most {_MAX_HEADER_VALUE} characters, none of them a control character")
    return value
