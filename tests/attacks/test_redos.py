"""A pattern that takes exponential time elsewhere takes linear time in every place of the configuration."""

import json
import time

import pytest
from prometheus_client import CollectorRegistry

from spanbridge.collector.config.components import component_of
from spanbridge.collector.config.validation import build
from spanbridge.collector.errors import ConfigError
from spanbridge.collector.exporters.mlflow.record.record import Recorder
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.receivers.otlp.config import CorsConfig
from spanbridge.collector.receivers.otlp.cors import Cors
from spanbridge.collector.service.stages import Plan, add_stages
from spanbridge.collector.telemetry.metrics import Telemetry
from tests.samples.traces import span, trace

VALUE = "a" * 100_000 + "!"
PATTERNS = [r"^(a+)+$", r"^(a|a)*$", r"^(a|aa)+$", r"^([a-zA-Z]+)*$", r"^(.*a){12}$"]
SECONDS = 5.0
"""Generous: a backtracking matcher would not be done with 40 letters in a lifetime."""


PLACES = {
    "redaction blocked_values": lambda p: ("redaction", {"allow_all_keys": True, "blocked_values": [p]}),
    "redaction allowed_values": lambda p: (
        "redaction",
        {"allow_all_keys": True, "blocked_values": ["a+"], "allowed_values": [p]},
    ),
    "redaction blocked_key_patterns": lambda p: ("redaction", {"allow_all_keys": True, "blocked_key_patterns": [p]}),
    "redaction ignored_key_patterns": lambda p: (
        "redaction",
        {"allow_all_keys": True, "blocked_values": ["b"], "ignored_key_patterns": [p]},
    ),
    "tag_schema pattern": lambda p: (
        "tag_schema",
        {"schema": {"tags": {"x": {"from": [{"root": "x"}], "pattern": p}}}},
    ),
    "tail_sampling string_attribute": lambda p: (
        "tail_sampling",
        {
            "policies": [
                {
                    "name": "p",
                    "type": "string_attribute",
                    "string_attribute": {"key": "x", "values": [p], "enabled_regex_matching": True},
                }
            ]
        },
    ),
    "tail_sampling ottl_condition": lambda p: (
        "tail_sampling",
        {
            "policies": [
                {
                    "name": "p",
                    "type": "ottl_condition",
                    "ottl_condition": {"span": [f'IsMatch(attributes["x"], {json.dumps(p)})']},
                }
            ]
        },
    ),
}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_patterns_of_processors(place, pattern):
    name, section = place(pattern)
    telemetry = Telemetry(CollectorRegistry())
    config = build(component_of("processor", name).config, section, ("processors", name), {})
    plan = add_stages(Plan(telemetry, ReleasedTraces(), {}), [(name, config)])
    subject = trace([span(b"t" * 16, b"s" * 8, values={"x": VALUE, VALUE: "a"})])
    started = time.monotonic()
    for stage in plan.head:
        stage.process(subject.batch)
    for stage in plan.trace:
        stage.process(subject)
    assert plan.head or plan.trace
    assert time.monotonic() - started < SECONDS


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("pattern", [r"(a)\1", r"(?=a)b"])
def test_what_needs_backtracking_is_refused_when_it_is_read(place, pattern):
    name, section = place(pattern)
    with pytest.raises(ConfigError):
        build(component_of("processor", name).config, section, ("processors", name), {})


def test_globs_of_resource_tags():
    record = Recorder(["*a*a*a*a*a*a*a*a*a*b"])
    started = time.monotonic()
    record(trace([span(b"t" * 16, b"s" * 8)], {"a" * 5_000: "x"}), 1)
    assert time.monotonic() - started < SECONDS


def test_origins():
    cors = Cors(CorsConfig(allowed_origins=("https://*.example.com", "http://*aaaaaaaa")))
    started = time.monotonic()
    assert cors.headers({"origin": "http://" + "a" * 60_000 + "!"}) == []
    assert time.monotonic() - started < SECONDS
