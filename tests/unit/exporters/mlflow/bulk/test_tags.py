"""The tags of a trace: those MLflow's store would write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils.uri import append_to_uri_path
from mlflow.utils.validation import _validate_trace_tag

from spanbridge.collector.exporters.mlflow.database.bulk import tags
from spanbridge.collector.exporters.mlflow.database.bulk.tags import KNOWN_SERVICES, LocationTags, add_valid, root_tags

TRACE_ID = "tr-0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "root",
    ["/srv/artifacts/7", "s3://bucket/7", "s3://bucket/a?region=eu#f", "file:relative/7", "mlflow-artifacts:/7", "rel"],
)
def test_where_artifacts_would_lie(root: str):
    expected = append_to_uri_path(root, "traces", TRACE_ID, "artifacts")
    assert LocationTags(root)(TRACE_ID) == {
        "mlflow.artifactLocation": expected,
        "mlflow.trace.spansLocation": "TRACKING_STORE",
    }


@given(
    key=st.text(max_size=12)
    | st.sampled_from(["a", "a.b", "a/b", "../a", "/a", ".", "a b", "é", "x" * 250, "x" * 251]),
    value=st.text(max_size=5) | st.sampled_from(["y" * 8000, "y" * 8001]),
)
def test_a_tag_is_taken_cut_or_left_out_as_in_mlflow(key: str, value: str):
    try:
        expected = dict([_validate_trace_tag(key, value)])
    except MlflowException:
        expected = {}
    for _ in range(2):  # known keys are remembered
        found: dict[str, str] = {}
        add_valid(found, key, value)
        assert found == expected


def test_a_value_too_long_is_left_out_where_mlflow_may_not_cut_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", "false")
    found: dict[str, str] = {}
    add_valid(found, "key", "y" * 8001)
    assert found == {}


def test_a_roots_own_tags():
    stored = {
        "mlflow.traceTag.team": '"search"',
        "mlflow.traceTag.count": "7",
        "mlflow.traceTag.twice": '"a \\"word\\""',
        "mlflow.traceTag.bad@key": '"x"',
        "other": '"x"',
    }
    assert root_tags(stored) == {"team": "search", "count": "7", "twice": 'a "word"'}


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tags, "_MOST_ENTRIES", 10)
    for number in range(100):
        add_valid({}, f"key-{number}", "")
    assert len(tags._keys) <= 10


@pytest.mark.filterwarnings("default")
def test_the_services_are_those_mlflow_knows():
    from mlflow.server.otel_api import _KNOWN_SERVICE_NAMES  # noqa: PLC0415  takes seconds

    assert KNOWN_SERVICES == _KNOWN_SERVICE_NAMES
