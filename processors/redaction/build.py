"""From the `redaction` section to its stage, and the metric that it counts in."""

from __future__ import annotations

from spanbridge.processors.redaction.config import RedactionConfig
from spanbridge.processors.redaction.otlp import Redaction
from spanbridge.processors.stages import BuildContext, Stages


def build(config: RedactionConfig, context: BuildContext) -> Stages:
    """Return the stage of a section; it takes spans and log records."""
    redactions = context.metrics.counter("spanbridge_redacted_values", "Values masked, by rule.", "rule")
    redact = Redaction(config, lambda rule, count: redactions.labels(rule).inc(count))
    return Stages(head=redact)  # type: ignore[arg-type]  # it takes each signal, not their union
