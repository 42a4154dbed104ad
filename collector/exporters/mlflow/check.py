"""The check of an MLflow destination, for `spanbridge check`: can it be reached and written to?"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spanbridge.collector.errors import ConfigError, ExportError
from spanbridge.collector.exporters.mlflow.destination import open_destination
from spanbridge.collector.exporters.mlflow.routing import Router
from spanbridge.collector.exporters.mlflow.settings import settings_from
from spanbridge.processors.types import Batch, Trace


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence on what works, or on what doesn't and how to mend it."""

    ok: bool
    sentence: str


def check(
    tracking_uri: str | None = None,
    experiment: str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    **options: Any,
) -> list[Finding]:
    """Try what an exporter with these arguments needs, up to the first fault. No trace is written.

    Args:
        tracking_uri: As that of `MlflowSpanExporter`.
        experiment: The same; where it is a template, `default_experiment` is tried.
        environ: The environment that completes the arguments.
        options: Fields of `MlflowSettings`.

    Returns:
        What works, in the order in which it was tried, and at the end the fault if there is one.
    """
    findings: list[Finding] = []
    try:
        settings = settings_from(environ, tracking_uri=tracking_uri, experiment=experiment, **options)
        route = Router(settings)(Trace(b"", Batch()))
        with contextlib.closing(open_destination(settings)) as destination:
            findings.extend(Finding(ok=True, sentence=sentence) for sentence in destination.check(route))
    except (ConfigError, ExportError) as error:
        findings.append(Finding(ok=False, sentence=str(error)))
    return findings
