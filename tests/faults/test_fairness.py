"""One client with giant requests and traces, and a quiet one beside it, which hardly notices."""

from __future__ import annotations

import os
import threading
import time

import grpc
import pytest

from spanbridge.processors.attributes import put
from spanbridge.processors.types import Batch, spans
from tests.faults.support.misbehaving import Misbehaving
from tests.polling import until_sync
from tests.samples.sender import EXPORT
from tests.samples.spans import trace_batch
from tests.servers.program import POOL, Ports, Program, configuration

pytestmark = pytest.mark.slow

SECONDS = 8.0
GIANT = 50_000
"""Spans of one trace, in one request of 25 MB."""
NOTICEABLE = 3.0
"""Seconds a request of the quiet client may take at most; when a giant was worked on in one go it was over 4."""
TRACE, ROOT = b"T" * 16, b"R" * 8
PROCESSORS = {"genai": {}, "redaction": {"detectors": "all"}, "tag_schema": {}}


def giant() -> bytes:
    """A trace whose ids are there to be replaced."""
    batch = Batch()
    scope = batch.resource_spans.add().scope_spans.add()
    for number in range(GIANT):
        span = scope.spans.add(trace_id=TRACE, span_id=number.to_bytes(8, "big") if number else ROOT)
        span.parent_span_id = ROOT if number else b""
        span.start_time_unix_nano, span.end_time_unix_nano = 10**18, 10**18 + 10**6
        put(span.attributes, "gen_ai.operation.name", "chat")
        put(span.attributes, "text", "hello " * 60)
    return batch.SerializeToString()


def test_a_quiet_client_beside_a_client_of_giants(tmp_path):
    ports, server, over = Ports(), Misbehaving(lambda *_: None, times=0), threading.Event()
    body, giants, quiet, took = giant(), [], set(), []

    def hog() -> None:
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{ports.grpc}", options) as channel:
            while not over.is_set():
                trace_id = os.urandom(16)
                channel.unary_unary(EXPORT)(body.replace(TRACE, trace_id).replace(ROOT, os.urandom(8)), timeout=60)
                giants.append(trace_id)

    with server.running() as address:
        config = configuration(
            ports, tmp_path, {"tracking_uri": address, "experiment": "Default"}, processors=PROCESSORS
        )
        with Program(config, tmp_path, ports) as program, grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
            hogging = threading.Thread(target=hog)
            hogging.start()
            end = time.monotonic() + SECONDS
            while time.monotonic() < end or len(giants) < 2:
                batch, started = trace_batch(size=8), time.monotonic()
                channel.unary_unary(EXPORT)(batch.SerializeToString(), timeout=30)
                assert POOL.request("GET", f"http://127.0.0.1:{ports.health}/").status == 200
                took.append(time.monotonic() - started)
                quiet |= {(span.trace_id, span.span_id) for span in spans(batch)}
                time.sleep(0.02)  # the pace of a quiet client
            over.set()
            last = time.monotonic()
            until_sync(lambda: quiet <= set(server.downstream.taken), what="the traces of the quiet client")
            waited = time.monotonic() - last
            hogging.join()
            until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, seconds=90, what="an empty journal")
            assert "Traceback" not in program.tail()
    took.sort()
    print(
        f"\n{len(giants)} giants beside {len(took)} small requests: p50 {took[len(took) // 2] * 1e3:.0f} ms, "
        f"most {took[-1]:.2f} s; the last of them delivered after {waited:.1f} s"
    )
    assert took[-1] < NOTICEABLE
    assert {trace_id for trace_id, _ in server.downstream.taken} >= set(giants)
    assert len(server.downstream.taken) == len(quiet) + GIANT * len(giants)
