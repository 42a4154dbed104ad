"""Alerts and dashboards, by Prometheus's own tools: promtool, and a real Prometheus that scrapes a loaded bridge."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from dataclasses import dataclass
from itertools import count

import grpc
import pytest
import urllib3
import yaml

from spanbridge.collector.journal.sqlite.paths import journal_path
from spanbridge.processors.attributes import put
from spanbridge.processors.types import Batch, Logs
from tests.deploy.support.chart import CHART
from tests.deploy.support.gateway import gateway, gateway_config
from tests.deploy.support.moody_mlflow import moody_mlflow
from tests.deploy.support.tools import ROOT, run, tool
from tests.polling import until_sync
from tests.samples.spans import add_span, new_id, trace_batch
from tests.servers.ports import free_port
from tests.servers.program import POOL, Ports

RULES = ROOT / "deploy/prometheus/rules.yaml"
RULE_TESTS = ROOT / "deploy/prometheus/rules_test.yaml"
DASHBOARDS = sorted((ROOT / "deploy/grafana").glob("*.json"))
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SET_ASIDE = "spanbridge_journal_set_aside_rows"
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


def test_rules_are_valid():
    run("promtool", "check", "rules", RULES)


def test_rules_by_their_tests():
    run("promtool", "test", "rules", RULE_TESTS)


def test_the_chart_has_the_same_files():
    assert RULES.resolve() == CHART / "files/rules.yaml"
    assert [path.resolve() for path in DASHBOARDS] == sorted((CHART / "files/dashboards").glob("*.json"))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert_fires_in_a_test_and_says_what_to_do(alert):
    assert set(alert["annotations"]) == {"summary", "description", "runbook"}
    assert alert["labels"]["severity"] in ("warning", "critical")
    tests = yaml.safe_load(RULE_TESTS.read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"] if case["alertname"] == alert["alert"]]
    assert any(case.get("exp_alerts") for case in cases)
    assert any(not case.get("exp_alerts") for case in cases)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboard_is_whole(path):
    board = json.loads(path.read_text())
    assert board["uid"] == path.stem
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    cells = [(x + i, y + j) for h, w, x, y in places for i in range(w) for j in range(h)]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert all(x < 24 for x, _ in cells)
    for panel in board["panels"]:
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"


def queries(path):
    """Every query of a dashboard, of its variables too, as Prometheus takes it."""
    board = json.loads(path.read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found.append(re.fullmatch(r"label_values\((.*), \w+\)", variable["definition"])[1])
    return [re.sub(r"\$(job|instance|service|model)\b", ".*", q).replace("$__rate_interval", "20s") for q in found]


class Prometheus:
    """A running one, by its HTTP interface."""

    def __init__(self, port):
        self._url = f"http://127.0.0.1:{port}"

    def ready(self):
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            return POOL.request("GET", f"{self._url}/-/ready").status == 200
        return False

    def query(self, expression):
        """The samples there are for an expression right now."""
        answer = POOL.request("GET", f"{self._url}/api/v1/query", fields={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        return answer["data"]["result"]

    def firing(self):
        """The names of alerts that fire."""
        alerts = POOL.request("GET", f"{self._url}/api/v1/alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def rules(self):
        """The names of the rules that are loaded, and the last error of each."""
        groups = POOL.request("GET", f"{self._url}/api/v1/rules").json()["data"]["groups"]
        return {rule["name"]: rule.get("lastError", "") for group in groups for rule in group["rules"]}


@contextlib.contextmanager
def prometheus(folder, target):
    """A Prometheus that scrapes `target` every second and knows the rules."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "bridge", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    flags = {"config.file": folder / "prometheus.yml", "storage.tsdb.path": folder / "tsdb"}
    command = [tool("prometheus"), *(f"--{key}={value}" for key, value in flags.items())]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    server = Prometheus(port)
    try:
        until_sync(server.ready, what="Prometheus")
        yield server
    finally:
        process.terminate()
        process.wait()


def traffic(number):
    """A trace as an agent makes it: with tokens, cost, an error and an address to mask."""
    batch = trace_batch(new_id(16), size=3, service=f"service {number % 2}")
    spans = batch.resource_spans[0].scope_spans[0].spans
    for span in spans:
        span.trace_id = os.urandom(16) if span is spans[0] else spans[0].trace_id
        span.start_time_unix_nano = time.time_ns()
        span.end_time_unix_nano = span.start_time_unix_nano + 300_000_000
        said = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": f"gpt-{number % 3}",
            "gen_ai.usage.input_tokens": 40,
            "gen_ai.usage.output_tokens": 7,
            "gen_ai.usage.cost": 0.01,
            "mail": "ann@example.com",
        }
        for key, value in said.items():
            put(span.attributes, key, value)
    spans[0].status.code = spans[0].status.STATUS_CODE_ERROR if number % 2 else spans[0].status.STATUS_CODE_OK
    return batch


def record(batch):
    """A log record of the batch's first span."""
    logs, span = Logs(), batch.resource_spans[0].scope_spans[0].spans[0]
    logs.resource_logs.add().scope_logs.add().log_records.add(trace_id=span.trace_id, span_id=span.span_id)
    return logs


@dataclass
class Client:
    """Sends over both transports; what is refused is not sent again."""

    ports: Ports

    def __enter__(self):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.ports.grpc}")
        return self

    def __exit__(self, *_):
        self.channel.close()

    def grpc(self, method, message):
        with contextlib.suppress(grpc.RpcError):
            self.channel.unary_unary(method)(message.SerializeToString(), timeout=10)

    def http(self, path, message):
        POOL.request(
            "POST",
            f"http://127.0.0.1:{self.ports.http}{path}",
            body=message.SerializeToString(),
            headers={"content-type": "application/x-protobuf"},
        )

    def send(self, number):
        batch = traffic(number)
        self.grpc(TRACES, batch)
        self.grpc(LOGS, record(batch))
        self.http("/v1/traces", traffic(number))
        self.http("/v1/logs", record(traffic(number)))


SAMPLING = {
    "config": {
        "processors": {
            "groupbytrace": None,
            "probabilistic_sampler": {"sampling_percentage": 99},
            "tail_sampling": {
                "decision_wait": "2s",
                "decision_wait_after_root_received": "100ms",
                "policies": [
                    {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
                    {"name": "some", "type": "probabilistic", "probabilistic": {"sampling_percentage": 50}},
                ],
            },
        },
        "service": {
            "pipelines": {
                "traces": {
                    "processors": [
                        "memory_limiter",
                        "genai",
                        "redaction",
                        "span_metrics",
                        "probabilistic_sampler",
                        "tail_sampling",
                        "tag_schema",
                    ]
                }
            }
        },
    }
}
HASTE = {
    "config": {"exporters": {"mlflow": {"retry_on_failure": {"initial_interval": "50ms", "max_interval": "100ms"}}}}
}


def poison():
    """A trace that MLflow would not take, nor would sampling drop."""
    batch = Batch()
    add_span(batch, os.urandom(16), "poison")
    batch.resource_spans[0].scope_spans[0].spans[0].status.code = 2
    return batch


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("total", [False, True], ids=["as in the Collector", "with _total"])
def test_every_query_of_the_dashboards_returns_data(tmp_path, total):
    ports = Ports()
    small = {"config": {"exporters": {"mlflow": {"sending_queue": {"queue_size": 256 << 10}}}}}
    with moody_mlflow() as mlflow:
        config = gateway_config(ports, tmp_path, mlflow.uri, SAMPLING, HASTE, small)
        if total:
            del config["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"][
                "without_type_suffix"
            ]
        with gateway(config, tmp_path, ports), prometheus(tmp_path, ports.metrics) as server, Client(ports) as client:
            client.grpc(TRACES, poison())
            wanted = {query for path in DASHBOARDS for query in queries(path)}
            for number in range(120):
                mlflow.status = 503 if 20 < number < 90 else 200
                client.send(number)
                time.sleep(0.05)

            def missing():
                for number in range(5):
                    client.send(number)
                return {query for query in wanted if not server.query(query)}

            with contextlib.suppress(AssertionError):
                until_sync(lambda: not missing(), seconds=20)
            assert missing() == set()
            assert server.rules().keys() == {alert["alert"] for alert in ALERTS}
            assert not any(server.rules().values())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_alerts_fire_for_real(tmp_path):
    """A damaged journal is told at once, spans that MLflow would not take after a minute."""
    ports = Ports()
    with moody_mlflow() as mlflow:
        config = gateway_config(ports, tmp_path, mlflow.uri, HASTE)
        with gateway(config, tmp_path, ports) as program:
            program.stop()
        journal = journal_path(str(tmp_path / "journal"), "traces")
        whole = journal.read_bytes()
        journal.write_bytes(whole[:100] + bytes(len(whole) - 100))
        with program, prometheus(tmp_path, ports.metrics) as server, Client(ports) as client:
            client.grpc(TRACES, poison())
            until_sync(lambda: "SpanbridgeJournalCorrupt" in server.firing(), what="the alert")
            # A trace is proven bad when others are taken meanwhile.
            numbers = count()
            until_sync(lambda: client.send(next(numbers)) or program.metric(SET_ASIDE), what="the poison")
            until_sync(lambda: "SpanbridgeSpansSetAside" in server.firing(), seconds=100, what="the alert")
            assert server.firing() == {"SpanbridgeJournalCorrupt", "SpanbridgeSpansSetAside"}
