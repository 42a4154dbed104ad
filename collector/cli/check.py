"""`spanbridge check`: can MLflow be reached and written to? If not, what mends it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from spanbridge.collector.cli.main import FAILED, add_config_options, load_config
from spanbridge.collector.exporters.mlflow.build import mlflow_options
from spanbridge.collector.exporters.mlflow.check import Finding, check
from spanbridge.collector.exporters.mlflow.config import MlflowExporterConfig


def main(arguments: Sequence[str]) -> int:
    """Check every mlflow exporter of a configuration, or the URI given, and print what works and what does not.

    Returns:
        0 if all is well, 1 if not.

    Raises:
        ConfigError: the configuration is wrong.
    """
    parser = argparse.ArgumentParser(prog="spanbridge check", description="Can MLflow be reached and written to?")
    add_config_options(parser)
    parser.add_argument("--tracking-uri", help="instead of a configuration; MLFLOW_TRACKING_URI by default")
    parser.add_argument("--experiment", help="the experiment that traces are to go to")
    options = parser.parse_args(arguments)
    findings = _configured(options) if options.config else check(options.tracking_uri, options.experiment)
    for finding in findings:
        sys.stdout.write(f"{'ok   ' if finding.ok else 'FAULT'} {finding.sentence}\n")
    return 0 if all(finding.ok for finding in findings) else FAILED


def _configured(options: argparse.Namespace) -> list[Finding]:
    config = load_config(options)
    models = (model for model in config.exporters.values() if isinstance(model, MlflowExporterConfig))
    return [finding for model in models for finding in check(environ=os.environ, **mlflow_options(model))]
