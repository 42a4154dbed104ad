"""deploy/README.md names only what there is: files, metrics, values, commands and alerts."""

from __future__ import annotations

import re

import yaml
from prometheus_client import CollectorRegistry

from spanbridge.collector.cli.main import COMMANDS
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.service.stages import PipelineStages, add_stages
from spanbridge.collector.telemetry.metrics import Telemetry, render
from spanbridge.collector.telemetry.process_metrics import ProcessMetrics
from tests.deploy.support.chart import CHART
from tests.deploy.support.tools import ROOT
from tests.flows import configured

TEXT = (ROOT / "deploy/README.md").read_text()
CODE = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL))

PROCESSORS = {
    "span_metrics": {},
    "redaction": {},
    "probabilistic_sampler": {},
    "tag_schema": {},
    "tail_sampling": {"policies": [{"name": "all", "type": "always_sample"}]},
}
"""Those that have metrics of their own."""


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / "deploy" / link).exists()] == []


def test_metrics_that_are_looked_for_are_there():
    telemetry = Telemetry(CollectorRegistry())
    telemetry.registry.register(ProcessMetrics("0"))
    add_stages(PipelineStages(telemetry, ReleasedTraces(), {}), configured(PROCESSORS))
    names = render(telemetry.registry, total_suffix=False).decode()
    patterns = re.findall(r"metrics \\\| grep (?:-E '([^']+)'|(\w+))", TEXT)
    assert len(patterns) > 8
    for alternatives in ("".join(found) for found in patterns):
        for pattern in re.split(r"\\\|(?![^(]*\))", alternatives):
            assert re.search(pattern.replace("\\|", "|"), names), pattern


def test_values_are_the_charts():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    named = [code for code in CODE if re.fullmatch(r"(persistence|networkPolicy|journal)\.\w+", code)]
    assert named
    for path in named:
        section, key = path.split(".")
        assert key in values[section], path
    for key in ("terminationGracePeriodSeconds", "preStopSleepSeconds", "traceIdRouting", "extraEnvs", "extraEnvsFrom"):
        assert key in values
        assert key in TEXT


def test_commands_are_the_programs():
    commands = {match[1] for code in CODE if (match := re.match(r"(?:spanbridge|bridge) (\w+)", code))}
    assert commands >= {"check", "journal", "validate"}
    assert commands <= set(COMMANDS)


def test_alerts_are_those_of_the_rules():
    rules = (CHART / "files/rules.yaml").read_text()
    alerts = set(re.findall(r"Spanbridge[A-Z]\w+", TEXT))
    assert alerts
    assert alerts <= set(re.findall(r"alert: (\w+)", rules))


def test_commands_of_the_rules_are_the_programs():
    rules = " ".join((CHART / "files/rules.yaml").read_text().split())
    assert set(re.findall(r"`spanbridge (\w+)", rules)) <= set(COMMANDS)
