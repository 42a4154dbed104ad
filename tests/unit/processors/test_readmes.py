"""The examples in the processors' READMEs are configurations."""

from __future__ import annotations

import re
from importlib import import_module

import pytest
import yaml

from tests.paths import ROOT

MODELS = {
    "genai": "genai.config:GenAiConfig",
    "redaction": "redaction.config:RedactionConfig",
    "probabilistic_sampler": "probabilistic_sampler:ProbabilisticSamplerConfig",
    "span_metrics": "span_metrics:SpanMetricsConfig",
    "tail_sampling": "tail_sampling.config:TailSamplingConfig",
    "tag_schema": "tag_schema.config:TagSchemaConfig",
}
READMES = [path for path in (ROOT / "processors").rglob("*.md") if path != ROOT / "processors" / "README.md"]


def model(name):
    module, _, attribute = MODELS[name].partition(":")
    return getattr(import_module(f"spanbridge.processors.{module}"), attribute)


def test_every_processor_has_a_readme():
    assert {path.parent.name if path.stem == "README" else path.stem for path in READMES} == set(MODELS)


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name + "/" + path.name)
def test_an_example_is_a_configuration(path):
    examples = re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL)
    sections = [item for example in examples for item in yaml.safe_load(example)["processors"].items()]

    assert sections
    for name, section in sections:
        model(name).model_validate(section)


@pytest.mark.parametrize("name", MODELS)
def test_every_key_is_described(name):
    schema = model(name).model_json_schema()
    nodes = [schema, *schema.get("$defs", {}).values()]
    undescribed = [
        f"{node['title']}.{key}"
        for node in nodes
        for key, found in node.get("properties", {}).items()
        if not found.get("description")
    ]

    assert undescribed == []
