"""A load from several clients, as OpenTelemetry's SDKs make it: span by span or in batches, over gRPC and HTTP.

What is not acknowledged is sent again until it is, and a trace's root is sent after its children.
"""

from __future__ import annotations

import gzip
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import grpc
import urllib3

from spanbridge.processors.attributes import put
from spanbridge.processors.types import Batch
from tests.samples.sender import EXPORT
from tests.samples.traces import MS, START_NS

Kind = Literal["error", "slow", "plain"]
KINDS: tuple[Kind, ...] = ("error", "slow", "plain", "plain", "plain")
SLOW_MS = 5000
PAUSE = 0.05


@dataclass
class Sent:
    """What a client got an OK for: the spans by trace, and what kind of trace it is."""

    spans: dict[str, set[str]] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)
    refusals: int = 0
    requests: int = 0

    def ids(self) -> set[tuple[str, str]]:
        return {(trace, span) for trace, spans in self.spans.items() for span in spans}


def trace_spans(dice: random.Random, kind: Kind) -> Batch:
    """A trace of 2 to 6 spans of a model call and its children, the root last."""
    batch = Batch()
    put(batch.resource_spans.add().resource.attributes, "service.name", "crash-load")
    scope = batch.resource_spans[0].scope_spans.add()
    trace_id, root, count = dice.randbytes(16), dice.randbytes(8), dice.randint(2, 6)
    for number in range(count):
        last = number == count - 1
        span = scope.spans.add(trace_id=trace_id, span_id=root if last else dice.randbytes(8), name=f"chat {number}")
        span.parent_span_id = b"" if last else root
        span.start_time_unix_nano = START_NS
        span.end_time_unix_nano = START_NS + (2 * SLOW_MS if kind == "slow" and last else 50) * MS
        if kind == "error" and number == 0:
            span.status.code, span.status.message = 2, "it failed"
        put(span.attributes, "gen_ai.operation.name", "chat")
        put(span.attributes, "gen_ai.request.model", "gpt-4o-mini")
        put(span.attributes, "gen_ai.usage.input_tokens", dice.randrange(1000))
    return batch


def cut(batch: Batch, per_request: int) -> Iterator[Batch]:
    """The spans of a batch in requests, in order."""
    resource = batch.resource_spans[0]
    spans = [span for each in batch.resource_spans for span in each.scope_spans[0].spans]
    for start in range(0, len(spans), per_request):
        request = Batch()
        target = request.resource_spans.add()
        target.resource.CopyFrom(resource.resource)
        target.scope_spans.add().spans.extend(spans[start : start + per_request])
        yield request


class Client(threading.Thread):
    """One application; `traces_per_request` of 0 sends each span by itself, as SimpleSpanProcessor does."""

    def __init__(
        self, seed: str, send: Callable[[], Callable[[bytes], bool]], *, traces_per_request: int, pause: float
    ) -> None:
        super().__init__(name=seed)
        self._dice = random.Random(seed)
        self._send = send
        self._traces = traces_per_request
        self._pause = pause
        self._enough = threading.Event()
        self.sent = Sent()

    def stop(self) -> None:
        """Finish the traces that are begun, then end."""
        self._enough.set()

    def run(self) -> None:
        send = self._send()
        while not self._enough.is_set():
            batch = Batch()
            for _ in range(self._traces or 1):
                kind = self._dice.choice(KINDS)
                made = trace_spans(self._dice, kind)
                batch.resource_spans.extend(made.resource_spans)
                self.sent.kinds[made.resource_spans[0].scope_spans[0].spans[0].trace_id.hex()] = kind
            # a batch of 7 spans ends in the midst of a trace more often than not
            for request in cut(batch, 7 if self._traces else 1):
                self._until_acknowledged(send, request)
                time.sleep(self._pause)  # the pace of the load, not a wait for a state

    def _until_acknowledged(self, send: Callable[[bytes], bool], request: Batch) -> None:
        body = request.SerializeToString()
        while not send(body):
            self.sent.refusals += 1
            time.sleep(PAUSE)  # a client's pause between two tries
        self.sent.requests += 1
        for span in request.resource_spans[0].scope_spans[0].spans:
            self.sent.spans.setdefault(span.trace_id.hex(), set()).add(span.span_id.hex())


def over_grpc(port: int) -> Callable[[], Callable[[bytes], bool]]:
    """Sends a serialized request; True if it was acknowledged."""

    def connect() -> Callable[[bytes], bool]:
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100)]
        call = grpc.insecure_channel(f"127.0.0.1:{port}", options).unary_unary(EXPORT)

        def send(body: bytes) -> bool:
            try:
                call(body, timeout=10)
            except grpc.RpcError:
                return False
            return True

        return send

    return connect


def over_http(port: int) -> Callable[[], Callable[[bytes], bool]]:
    """The same over HTTP, compressed."""
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}

    def connect() -> Callable[[bytes], bool]:
        pool = urllib3.PoolManager(retries=False, timeout=10)

        def send(body: bytes) -> bool:
            try:
                answer = pool.request(
                    "POST", f"http://127.0.0.1:{port}/v1/traces", body=gzip.compress(body), headers=headers
                )
            except urllib3.exceptions.HTTPError:
                return False
            return answer.status == 200

        return send

    return connect


def load(seed: int, grpc_port: int, http_port: int, pause: float = 0.02) -> list[Client]:
    """Four clients: span by span and in batches, over gRPC and HTTP."""
    return [
        Client(f"{seed} grpc simple", over_grpc(grpc_port), traces_per_request=0, pause=pause),
        Client(f"{seed} grpc batch", over_grpc(grpc_port), traces_per_request=8, pause=3 * pause),
        Client(f"{seed} http simple", over_http(http_port), traces_per_request=0, pause=pause),
        Client(f"{seed} http batch", over_http(http_port), traces_per_request=8, pause=3 * pause),
    ]
