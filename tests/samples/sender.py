"""A client that behaves as OTLP clients should: what is not acknowledged is sent again until it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

import grpc

from spanbridge.processors.types import Batch, spans
from tests.samples.spans import trace_batch

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
RETRY_PAUSE = 0.05


class Sender:
    """Sends batches over gRPC from several threads; `acknowledged` is what the bridge said OK to."""

    def __init__(self, port: int, *, metadata: Iterable[tuple[str, str]] = (), patience: float = 60) -> None:
        self._target = f"127.0.0.1:{port}"
        self._metadata = tuple(metadata)
        self._deadline = time.monotonic() + patience
        self._lock = threading.Lock()
        self.acknowledged: set[tuple[str, str]] = set()
        self.refused: list[grpc.StatusCode] = []

    def send_all(self, batches: Sequence[Batch], threads: int = 4) -> None:
        """Send every batch; returns when all are acknowledged."""
        shares = [batches[number::threads] for number in range(threads)]
        workers = [threading.Thread(target=self._run, args=(share,)) for share in shares]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _run(self, batches: Sequence[Batch]) -> None:
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
        with grpc.insecure_channel(self._target, options) as channel:
            call = channel.unary_unary(EXPORT, request_serializer=Batch.SerializeToString)
            for batch in batches:
                self._send(call, batch)

    def _send(self, call, batch: Batch) -> None:
        while True:
            try:
                call(batch, timeout=10, metadata=self._metadata)
                break
            except grpc.RpcError as error:
                with self._lock:
                    self.refused.append(error.code())
                if time.monotonic() > self._deadline:
                    raise
                time.sleep(RETRY_PAUSE)  # the pause between two tries of one client, not a wait for a state
        with self._lock:
            self.acknowledged |= {(span.trace_id.hex(), span.span_id.hex()) for span in spans(batch)}


def stream(traces: int, size: int, per_request: int) -> list[Batch]:
    """`traces` traces of `size` spans, children first, cut into requests regardless of where a trace ends."""
    flat = [span for _ in range(traces) for span in spans(trace_batch(size=size))]
    batches = []
    for start in range(0, len(flat), per_request):
        batch = Batch()
        batch.resource_spans.add().scope_spans.add().spans.extend(flat[start : start + per_request])
        batches.append(batch)
    return batches
