"""The tags of a trace: where its artifacts would lie, where its spans lie, its resource, and its root's own tags."""

from __future__ import annotations

from collections.abc import Mapping

from mlflow.exceptions import MlflowException
from mlflow.tracing.constant import SpanAttributeKey, SpansLocation, TraceTagKey
from mlflow.utils.mlflow_tags import MLFLOW_ARTIFACT_LOCATION
from mlflow.utils.uri import append_to_uri_path
from mlflow.utils.validation import MAX_TRACE_TAG_VAL_LENGTH, _validate_trace_tag

from spanbridge.collector.exporters.mlflow.database.bulk.values import plain

KNOWN_SERVICES = frozenset({"claude-code", "codex_cli_rs", "codex_vscode", "gemini-cli", "qwen-code"})
"""Services whose name MLflow's endpoint puts on the root span (`mlflow.server.otel_api._KNOWN_SERVICE_NAMES`)."""

_MOST_ENTRIES = 10_000


class LocationTags:
    """The two tags that every trace in a tracking store has: where its artifacts would lie, and where its spans do."""

    def __init__(self, artifact_location: str) -> None:
        some = "tr-" + "0" * 32
        uri = append_to_uri_path(artifact_location, "traces", some, "artifacts")
        self._before, _, self._after = uri.rpartition(some)

    def __call__(self, trace_id: str) -> dict[str, str]:
        """Return the two tags of a trace, by MLflow's id of it."""
        return {
            MLFLOW_ARTIFACT_LOCATION: f"{self._before}{trace_id}{self._after}",
            TraceTagKey.SPANS_LOCATION: SpansLocation.TRACKING_STORE.value,
        }


def root_tags(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that a root span carries as `mlflow.traceTag.*`, without those that MLflow leaves out as bad."""
    prefix = SpanAttributeKey.TRACE_TAG_PREFIX
    tags: dict[str, str] = {}
    for key, text in attributes.items():
        if key.startswith(prefix):
            add_valid(tags, key[len(prefix) :], plain(text))
    return tags


def add_valid(tags: dict[str, str], key: str, value: str) -> None:
    """Add a tag unless MLflow refuses its key or value; a value too long is cut as MLflow does it."""
    if not _keys[key]:
        return
    if len(value) > MAX_TRACE_TAG_VAL_LENGTH:
        try:
            _, value = _validate_trace_tag(key, value)
        except MlflowException:
            return
    tags[key] = value


class _Keys(dict[str, bool]):
    """Tag key -> whether MLflow takes it; the check costs more than all the rest of a tag."""

    def __missing__(self, key: str) -> bool:
        if len(self) >= _MOST_ENTRIES:
            self.clear()
        self[key] = _valid(key, "")
        return self[key]


_keys = _Keys()


def _valid(key: str, value: str) -> bool:
    try:
        _validate_trace_tag(key, value)
    except MlflowException:
        return False
    return True
