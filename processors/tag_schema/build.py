"""From the `tag_schema` section to its stage, and the metric that it counts in."""

from __future__ import annotations

from spanbridge.processors.stages import BuildContext, Stages
from spanbridge.processors.tag_schema.config import TagSchemaConfig
from spanbridge.processors.tag_schema.schema import TagSchema


def build(config: TagSchemaConfig, context: BuildContext) -> Stages:
    """Return the stage of a section."""
    violations = context.metrics.counter("spanbridge_tag_schema_violations", "Tags against a rule.", "tag", "rule")
    return Stages(trace=TagSchema(config, context.environ, lambda tag, rule: violations.labels(tag, rule).inc()))
