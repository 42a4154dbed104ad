"""A long run with a day's troubles in it: memory, descriptors, threads and the journal end as they were when warm."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import pytest

from tests.faults.support.clients import SLOW_MS, load
from tests.faults.support.misbehaving import Misbehaving
from tests.faults.support.sizes import SOAK_SECONDS
from tests.faults.test_outage import Scaled
from tests.polling import until_sync
from tests.servers.program import Ports, configuration

pytestmark = pytest.mark.slow

GROWTH = 8 << 20
"""Bytes of memory that measuring twice may differ by."""
JOURNAL_GROWTH = 2 << 20
PROCESSORS = {
    "redaction": {},
    "genai": {},
    "tag_schema": {},
    "tail_sampling": {
        "decision_wait": "5s",
        "decision_wait_after_root_received": "200ms",
        "policies": [
            {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
            {"name": "slow", "type": "latency", "latency": {"threshold_ms": SLOW_MS}},
            {"name": "some", "type": "probabilistic", "probabilistic": {"sampling_percentage": 50}},
        ],
    },
}


@dataclass(frozen=True)
class Reading:
    rss: int
    descriptors: int
    threads: int
    journal: int


def troubled(server: Misbehaving, wire, request) -> None:
    """Seven tenths of every tenth second the destination is in trouble."""
    match int(time.monotonic() * 10) % 100:
        case 0 | 1 | 2:
            wire.answer(503)
        case 3 | 4 | 5:
            wire.reset()
        case 6:
            wire.answer(422)
        case _:
            server.take(request)
            wire.answer(200)


def median(readings: list[Reading], name: str) -> float:
    return statistics.median(getattr(reading, name) for reading in readings)


@pytest.mark.timeout(120 + 2 * SOAK_SECONDS)
def test_nothing_grows(tmp_path):
    ports, server = Ports(), Misbehaving(troubled, times=1 << 60)
    readings: list[Reading] = []
    with server.running() as address:
        mlflow = {"tracking_uri": address, "experiment": "Default", "timeout": "2s"}
        config = configuration(ports, tmp_path, mlflow, processors=PROCESSORS)
        config["exporters"]["mlflow"]["sending_queue"]["num_consumers"] = 2  # threads that are all there when warm
        with Scaled(config, tmp_path, ports) as program:
            clients = load(1, ports.grpc, ports.http, pause=0.01)
            for client in clients:
                client.start()
            end = time.monotonic() + SOAK_SECONDS
            while time.monotonic() < end:
                time.sleep(0.5)  # between two readings
                journal = sum(path.stat().st_size for path in (tmp_path / "journal").iterdir())
                readings.append(Reading(program.rss(), program.descriptors(), program.threads(), journal))
                server.downstream.first.clear()  # this process need not grow either
            for client in clients:
                client.stop()
            for client in clients:
                client.join(30)
            until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, what="an empty journal")
            assert program.metric("spanbridge_set_aside_spans") == 0
            must = {trace for client in clients for trace, kind in client.sent.kinds.items() if kind != "plain"}
            assert must <= {trace_id.hex() for trace_id, _ in server.downstream.taken}

    third = len(readings) // 3
    warm, last = readings[third : 2 * third], readings[2 * third :]
    names = ("rss", "descriptors", "threads", "journal")
    sent = sum(len(spans) for client in clients for spans in client.sent.spans.values())
    print(f"\n{sent} spans; warm -> end: " + ", ".join(f"{n} {median(warm, n)} -> {median(last, n)}" for n in names))
    assert median(last, "rss") - median(warm, "rss") < GROWTH
    assert median(last, "descriptors") <= median(warm, "descriptors") + 2
    assert median(last, "threads") <= median(warm, "threads") + 1
    assert median(last, "journal") - median(warm, "journal") < JOURNAL_GROWTH
