"""The JSON Schema, and the table of components."""

import pytest
import yaml
from jsonschema import Draft202012Validator

from spanbridge.collector.config.components import COMPONENTS, ComponentId, describe_components, split_id
from spanbridge.collector.config.json_schema import json_schema
from spanbridge.collector.config.sources import parse
from tests.paths import DATA

CONFIGS = DATA / "config"
GOOD = sorted((CONFIGS / "good").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator():
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_good_files_match(validator, file):
    assert [error.message for error in validator.iter_errors(parse(file.read_text()))] == []


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("typo_default_proto", ["receivers.otlp"]),
        ("unknown_component", ["exporters", "extensions", "processors", "receivers"]),
        ("unknown_section", ["", "connectors", "exporters", "service", "service.telemetry"]),
        (
            "wrong_values",
            [
                "exporters.mlflow",
                "exporters.otlp_grpc",
                "processors.groupbytrace",
                "receivers.otlp",
                "service.pipelines",
                "service.telemetry",
            ],
        ),
        ("pipelines", ["service.pipelines"]),
        ("nothing_configured", ["service"]),
        ("empty", [""]),
    ],
)
def test_bad_files_are_refused_where_they_are_wrong(validator, name, paths):
    tree = parse((CONFIGS / "bad" / f"{name}.yaml").read_text())
    found = {".".join(map(str, error.absolute_path)) for error in validator.iter_errors(tree)}
    assert sorted(found) == paths


def test_every_component_is_in_the_schema_under_each_of_its_names(validator):
    for component in COMPONENTS:
        for name in component.names:
            for written in (name, f"{name}/x"):
                tree = {"receivers": {}, "exporters": {}, "service": {}, f"{component.kind}s": {written: None}}
                assert validator.is_valid(tree), written


def test_the_listing_names_every_component():
    listing = yaml.safe_load(describe_components())
    assert {row["name"] for rows in listing.values() for row in rows} == {row.type for row in COMPONENTS}
    assert {"name": "otlp_grpc", "aliases": ["otlp"], "description": "Hands traces on over OTLP/gRPC."} in listing[
        "exporters"
    ]


@pytest.mark.parametrize(
    ("kind", "written", "component_id"),
    [
        ("receiver", "otlp", ComponentId("otlp", "")),
        ("exporter", "otlp/2", ComponentId("otlp_grpc", "2")),
        ("exporter", "otlphttp/a/b", ComponentId("otlp_http", "a/b")),
        ("exporter", "logging", ComponentId("debug", "")),
        ("extension", "healthcheckv2", ComponentId("health_check", "")),
    ],
)
def test_ids(kind, written, component_id):
    assert split_id(kind, written) == component_id


@pytest.mark.parametrize("written", ["", "/x", "otlp/", "otlp grpc", "9x", "ötlp"])
def test_no_ids(written):
    with pytest.raises(ValueError, match="is no component id"):
        split_id("exporter", written)
