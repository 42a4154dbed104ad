"""kill -9 at random moments under load from several clients, over and over: nothing lost, nothing twice, no halves."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from dataclasses import dataclass, fields

import pytest
from mlflow import MlflowClient

from tests.faults.support.clients import SLOW_MS, Sent, load
from tests.faults.support.forkserver import ForkedProgram, ForkServer
from tests.faults.support.sizes import KILLS, KILLS_POSTGRES, SEED
from tests.polling import until_sync
from tests.samples.reading import span_ids
from tests.servers.program import Ports, configuration

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

LONGEST_LIFE = 2.5
"""Seconds after which a bridge is killed at the latest; it is ready after some tenths of one."""
EXPERIMENT = "kill 9"

PROCESSORS = {
    "genai": {},
    "tag_schema": {},
    "tail_sampling": {
        "decision_wait": "60s",
        "decision_wait_after_root_received": "300ms",
        "policies": [
            {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
            {"name": "slow", "type": "latency", "latency": {"threshold_ms": SLOW_MS}},
            {"name": "some", "type": "probabilistic", "probabilistic": {"sampling_percentage": 10}},
        ],
    },
}


@dataclass
class Figures:
    """What the loop prints; of `lost` to `invented` there must be none."""

    kills: int
    requests: int
    refusals: int
    acknowledged_spans: int
    traces: int
    traces_in_mlflow: int
    plain: int
    plain_sampled: int
    lost_spans: int
    lost_traces: int
    doubled_spans: int
    half_traces: int
    invented_spans: int


def figures(kills: int, all_sent: list[Sent], found: list[tuple[str, str]]) -> Figures:
    """Compare what was acknowledged with what MLflow has."""
    sent = {trace: spans for each in all_sent for trace, spans in each.spans.items()}
    kinds = {trace: kind for each in all_sent for trace, kind in each.kinds.items()}
    stored = defaultdict(set)
    for trace, span in found:
        stored[trace].add(span)
    kept = [trace for trace in sent if kinds[trace] != "plain"]
    plain = [trace for trace in sent if kinds[trace] == "plain"]
    return Figures(
        kills=kills,
        requests=sum(each.requests for each in all_sent),
        refusals=sum(each.refusals for each in all_sent),
        acknowledged_spans=sum(map(len, sent.values())),
        traces=len(sent),
        traces_in_mlflow=len(stored),
        plain=len(plain),
        plain_sampled=sum(trace in stored for trace in plain),
        lost_spans=sum(len(sent[trace] - stored[trace]) for trace in kept if trace in stored)
        + sum(len(sent[trace]) for trace in kept if trace not in stored),
        lost_traces=sum(trace not in stored for trace in kept),
        doubled_spans=len(found) - len(set(found)),
        half_traces=sum(bool(sent[trace] - stored[trace]) for trace in sent if trace in stored),
        invented_spans=len(set(found) - {(trace, span) for trace, spans in sent.items() for span in spans}),
    )


def kill_again_and_again(uri: str, kills: int, folder) -> Figures:
    """The loop; the last bridge is let live until all is delivered."""
    MlflowClient(uri).create_experiment(EXPERIMENT)  # and with it the tables: making those is MLflow's own affair
    dice, ports = random.Random(SEED), Ports()
    config = configuration(ports, folder, {"tracking_uri": uri, "experiment": EXPERIMENT}, processors=PROCESSORS)
    clients = load(SEED, ports.grpc, ports.http)
    with ForkServer() as server, ForkedProgram(server, config, folder, ports) as program:
        for client in clients:
            client.start()
        try:
            for _ in range(kills):
                program.kill()
                program.spawn()
                time.sleep(dice.uniform(0, LONGEST_LIFE))  # the random moment
            program.kill()
            program.start()
        finally:
            for client in clients:
                client.stop()
        for client in clients:
            client.join(60)
            assert not client.is_alive()
        until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, seconds=240, what="an empty journal")
        assert program.metric("spanbridge_set_aside_spans") == 0
        assert "Traceback" not in program.log.read_text(errors="replace")
    return figures(kills + 1, [client.sent for client in clients], span_ids(uri, EXPERIMENT))


def hold_to_it(result: Figures) -> None:
    print("\n" + "\n".join(f"{each.name:>20} {getattr(result, each.name):>8}" for each in fields(result)))
    assert result.refusals, "the kills were never felt: the test proves nothing"
    assert result.traces > 2 * result.kills
    assert (result.lost_spans, result.lost_traces) == (0, 0)
    assert result.doubled_spans == 0
    assert result.half_traces == 0
    assert result.invented_spans == 0
    spread = 6 * (result.plain * 0.1 * 0.9) ** 0.5
    assert abs(result.plain_sampled - 0.1 * result.plain) <= spread


@pytest.mark.timeout(120 + 8 * KILLS)
def test_over_mlflow_on_sqlite(tmp_path):
    hold_to_it(kill_again_and_again(f"sqlite:///{tmp_path / 'mlflow.db'}", KILLS, tmp_path))


@pytest.mark.timeout(240 + 8 * KILLS_POSTGRES)
def test_over_mlflow_on_postgresql(tmp_path, postgresql):
    hold_to_it(kill_again_and_again(postgresql, KILLS_POSTGRES, tmp_path))
