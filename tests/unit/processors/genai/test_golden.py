"""Golden files, one a convention: OTLP/JSON in, the `mlflow.*` attributes, session, user and tags that must come out.

`<name>.in.json` is an OTLP/JSON traces request, `<name>.logs.json` (where there is one) the log records that belong to
it, `<name>.out.json` what is expected: `spans` by name, each `mlflow.*` value read as JSON where it is JSON, and
`trace`. The expected files were written by hand or checked by hand, line by line, against the convention's source.
"""

from __future__ import annotations

import base64
import json

import pytest
from google.protobuf import json_format

from spanbridge.processors.attributes import as_dict
from spanbridge.processors.genai import GenAi, GenAiConfig, GenAiTrace
from spanbridge.processors.genai.conventions import CONVENTIONS
from spanbridge.processors.types import Batch, Logs, Trace, spans
from tests.paths import DATA

GOLDEN = DATA / "genai"
NAMES = sorted(path.name.removesuffix(".in.json") for path in GOLDEN.glob("*.in.json"))
_IDS = ("traceId", "spanId", "parentSpanId")


@pytest.mark.parametrize("name", NAMES)
def test_a_convention_reads_as_its_golden_file_says(name):
    assert observed(normalized(name)) == json.loads((GOLDEN / f"{name}.out.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_running_both_stages_again_changes_nothing(name):
    trace = normalized(name)
    before = trace.batch.SerializeToString(deterministic=True), dict(trace.tags)

    GenAi(GenAiConfig())(trace.batch)
    GenAiTrace(GenAiConfig())(trace)

    assert (trace.batch.SerializeToString(deterministic=True), trace.tags) == before


def test_every_convention_has_a_golden_file():
    missing = [one.name for one in CONVENTIONS if not any(one.name in name for name in NAMES)]
    assert missing == []


def given(name):
    """A golden input as it comes: the trace with its log records."""
    batch = json_format.ParseDict(with_base64_ids(json.loads((GOLDEN / f"{name}.in.json").read_text())), Batch())
    trace = Trace(next(spans(batch)).trace_id, batch)
    logs = GOLDEN / f"{name}.logs.json"
    if logs.exists():
        trace.logs = json_format.ParseDict(with_base64_ids(json.loads(logs.read_text())), Logs())
    return trace


def normalized(name):
    """A golden input after both stages."""
    trace = given(name)
    trace.batch = GenAi(GenAiConfig())(trace.batch)
    return GenAiTrace(GenAiConfig())(trace)


def with_base64_ids(node):
    """OTLP/JSON has hexadecimal ids where protobuf's JSON has base64."""
    if isinstance(node, list):
        return [with_base64_ids(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: base64.b64encode(bytes.fromhex(value)).decode() if key in _IDS else with_base64_ids(value)
        for key, value in node.items()
    }


def observed(trace):
    """What MLflow would be told of a trace, in the form of the expected files."""
    told = {span.name: as_dict(span.attributes) for span in spans(trace.batch)}
    root = as_dict(trace.root.attributes)
    return {
        "trace": {
            "session": root.get("session.id"),
            "user": root.get("user.id"),
            "tags": trace.tags,
            "metadata": trace.metadata,
        },
        "spans": {
            name: {key: _read(value) for key, value in attributes.items() if key.startswith("mlflow.")}
            for name, attributes in told.items()
        },
    }


def _read(value):
    try:
        return json.loads(value)
    except ValueError:
        return value
