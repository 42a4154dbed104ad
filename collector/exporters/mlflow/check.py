"""Can I reach and write to MLflow? For `spanbridge check`."""

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
    """What works, or what doesn't and how to mend it."""

    ok: bool
    sentence: str


def check(
    tracking_uri: str | None = None,
    experiment: str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    **options: Any,
) -> list[Finding]:
    """Try what an exporter with these arguments needs, up to the first fault. Writes nothing.

    Where `experiment` is a template, its default is tried.
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
