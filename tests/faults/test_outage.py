"""MLflow is away for an hour's worth of traffic: all of it is taken in up to the bound, and delivered afterwards."""

from __future__ import annotations

import threading
import time

import grpc
import pytest
import urllib3

from spanbridge.collector.net.retry_after import grpc_retry_after
from tests.faults.support.misbehaving import Misbehaving
from tests.faults.support.sizes import OUTAGE_SPANS
from tests.polling import until_sync
from tests.samples.sender import EXPORT, Sender
from tests.samples.traces import batch, bench_trace
from tests.servers.ports import free_port
from tests.servers.program import Ports, Program, configuration

pytestmark = pytest.mark.slow

PER_TRACE, PER_REQUEST = 8, 10
SPARE = 2 << 20
"""Bytes of room that the hour leaves."""
FLAT = 24 << 20
"""Bytes by which memory may differ between the first quarter of the hour and its end; the traffic is more than that."""


class Scaled(Program):
    module = "tests.faults.support.scaled"


def requests(first: int, count: int) -> list:
    """Requests of ten whole traces of the bench mix each."""
    return [
        batch(bench_trace(number) for number in range(start, start + PER_REQUEST))
        for start in range(first, first + count, PER_REQUEST)
    ]


def refusal_over_grpc(port: int, body: bytes) -> tuple[grpc.StatusCode, float | None] | None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary(EXPORT)(body, timeout=10)
        except grpc.RpcError as error:
            return error.code(), grpc_retry_after(error)
    return None


@pytest.mark.timeout(240 + OUTAGE_SPANS // 200)
def test_an_hour_without_mlflow(tmp_path):
    hour = requests(0, OUTAGE_SPANS // PER_TRACE)
    more = requests(OUTAGE_SPANS, 2000)
    capacity = sum(request.ByteSize() + 200 for request in hour) + SPARE
    ports, port = Ports(), free_port()
    config = configuration(ports, tmp_path, {"tracking_uri": f"http://127.0.0.1:{port}", "experiment": "Default"})
    config["exporters"]["mlflow"]["sending_queue"] |= {"sizer": "bytes", "queue_size": capacity}
    quarter = len(hour) // 4
    sender, late = Sender(ports.grpc, patience=200), Sender(ports.grpc, patience=200)
    with Scaled(config, tmp_path, ports) as program:
        sender.send_all(hour[:quarter])
        warm = program.rss()
        sender.send_all(hour[quarter:])
        end = program.rss()
        assert sender.refused == [], "refused below the bound"
        assert program.metric("spanbridge_journal_bytes") < capacity

        sending = threading.Thread(target=late.send_all, args=(more,))
        sending.start()
        until_sync(lambda: len(late.refused) > 20, what="refusals at the bound")
        largest = max(request.ByteSize() for request in more)
        assert capacity - 5 * largest < program.metric("spanbridge_journal_bytes") <= capacity
        assert set(late.refused) == {grpc.StatusCode.UNAVAILABLE}
        body = more[-1].SerializeToString()
        assert refusal_over_grpc(ports.grpc, body) == (grpc.StatusCode.UNAVAILABLE, pytest.approx(1.0))
        answer = urllib3.request(
            "POST",
            f"http://127.0.0.1:{ports.http}/v1/traces",
            body=body,
            headers={"Content-Type": "application/x-protobuf"},
            retries=False,
        )
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        full = program.rss()

        server, back = Misbehaving(lambda *_: None, times=0), time.monotonic()
        with server.running(port):
            sending.join()
            until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, seconds=200, what="an empty journal")
        taken = {(trace_id.hex(), span_id.hex()) for trace_id, span_id in server.downstream.taken}
        print(
            f"\n{len(sender.acknowledged)} spans in {capacity >> 20} MiB during the outage, none refused; "
            f"{len(late.refused)} refusals at the bound; RSS {warm >> 20} -> {end >> 20} -> {full >> 20} MiB; "
            f"{len(taken)} delivered {time.monotonic() - back:.0f} s after MLflow was back; "
            f"most often {max(server.downstream.taken.values())} times"
        )
        assert taken == sender.acknowledged | late.acknowledged
        assert max(server.downstream.taken.values()) == 1
        assert max(end, full) - warm < FLAT
        assert "Traceback" not in program.log.read_text(errors="replace")
