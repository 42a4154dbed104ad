"""What sampling costs: the head sampler at 1 %, tail sampling that keeps 5 %, and memory of spans that wait."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.bench.load import Shape, run
from tests.servers.program import Program

HEAD = {"probabilistic_sampler": {"sampling_percentage": 1}}
POLICIES = [
    {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
    {"name": "slow", "type": "latency", "latency": {"threshold_ms": 5000}},
    {"name": "expensive", "type": "token_usage", "token_usage": {"min_total": 1_000_000}},
    {
        "name": "watched",
        "type": "string_attribute",
        "string_attribute": {"key": "session.id", "values": ["^vip .*"], "enabled_regex_matching": True},
    },
    {"name": "some", "type": "probabilistic", "probabilistic": {"sampling_percentage": 5}},
]
LARGE = 512
PENDING = 300_000


def tail(decision_wait: str) -> dict:
    """tail_sampling with five policies that keep 5 % of the load."""
    return {"tail_sampling": {"decision_wait": decision_wait, "policies": POLICIES}}


def head_rate(program: Program, requests: int = 1200) -> float:
    """Spans a second that are answered OK."""
    outcome = run(program.ports.grpc, Shape(requests, LARGE))
    assert outcome.failed == 0, f"{outcome.failed} requests were refused"
    return requests * LARGE / outcome.seconds


def tail_rate(program: Program, requests: int = 800) -> tuple[float, float]:
    """Spans a second that are answered OK, and that are decided: from the first request to the last decision."""
    outcome = run(program.ports.grpc, Shape(requests, LARGE))
    assert outcome.failed == 0, f"{outcome.failed} requests were refused"
    sent = time.perf_counter()
    while program.metric("spanbridge_journal_bytes"):
        time.sleep(0.2)  # to ask costs the program some ms
    seconds = outcome.seconds + time.perf_counter() - sent
    spans = requests * LARGE
    kept = program.metric("otelcol_exporter_sent_spans") / spans
    assert 0.03 < kept < 0.07, f"{kept:.1%} were kept"
    return spans / outcome.seconds, spans / seconds


def bytes_per_pending(program: Program) -> tuple[float, float]:
    """Resident bytes that a span costs while it waits, and those of the process in MiB."""
    idle = program.rss()
    requests = PENDING // LARGE + 1
    outcome = run(program.ports.grpc, Shape(requests, LARGE))
    assert outcome.failed == 0, f"{outcome.failed} requests were refused"
    spans = requests * LARGE
    while program.metric("spanbridge_assembling_spans") < spans:
        time.sleep(0.2)
    return (program.rss() - idle) / spans, program.rss() / 2**20


def rows(bridge: Callable, sink: Callable, row: Callable) -> list[dict]:
    """All rows, each with a program of its own."""
    made = []
    with sink() as uri:
        with bridge(uri, HEAD) as (program, _):
            made.append(row("probabilistic_sampler 1 %, 512-span requests", head_rate(program), "spans/s", ">= 60000"))
        with bridge(uri, tail("1s")) as (program, _):
            accepted, decided = tail_rate(program)
            made.append(row("tail_sampling, 5 policies, 5 % kept: OK", accepted, "spans/s", ">= 20000"))
            made.append(row("tail_sampling, 5 policies, 5 % kept: decided", decided, "spans/s", ">= 20000"))
        with bridge(uri, tail("1h")) as (program, _):
            each, whole = bytes_per_pending(program)
            made.append(row("RSS a pending span, 300,000 pending", each, "bytes", "<= 2500"))
            made.append(row("RSS at 300,000 pending spans", whole, "MiB", ""))
    return made
