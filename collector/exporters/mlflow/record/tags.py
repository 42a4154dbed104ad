"""Trace tags MLflow can store: pure. Its own checks (utils/validation.py) drop the others in silence."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from functools import lru_cache

from spanbridge.collector.exporters.mlflow.record.values import dumps, from_python, unquoted

KEY_LENGTH = 250
VALUE_LENGTH = 8000

TRACE_TAG = "mlflow.traceTag."
"""The attributes of a root span that MLflow turns into trace tags."""

TRACE_NAME = "mlflow.traceName"

_TAG_CHARACTER = re.compile(r"[^/\w.\- :]")

RESERVED_TAGS = frozenset(
    {
        "mlflow.trace.spansLocation",
        "mlflow.trace.archiveLocation",
        "mlflow.trace.archivalFailure",
        "mlflow.artifactLocation",
    }
)
"""Where MLflow keeps the spans: written by MLflow alone."""


def clean_tags(tags: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return tags with keys and values that MLflow takes, without those that are MLflow's own."""
    cleaned = ((tag_key(key), from_python(value)[:VALUE_LENGTH]) for key, value in tags)
    return {key: value for key, value in cleaned if key and key not in RESERVED_TAGS}


def by_root(key: str) -> bool:
    """Return whether MLflow takes a tag from the root's attributes alone, not from a resource (sqlalchemy_store.py)."""
    return key.startswith(("telemetry.sdk.", "mlflow."))


@lru_cache(maxsize=10_000)
def tag_key(key: str) -> str:
    """Make of a key one that MLflow takes for a tag; empty if there is none."""
    key = _TAG_CHARACTER.sub("_", key)[:KEY_LENGTH]
    if posixpath.normpath(key) != key or key.startswith(("/", "..")) or key == ".":
        key = key.replace("/", "_").strip(".")
    return key


def tag_attribute(value: str) -> str:
    """Return what MLflow reads back as the tag `value`: it takes one layer of JSON quotes off an attribute."""
    return value if unquoted(value) == value else dumps(value)
