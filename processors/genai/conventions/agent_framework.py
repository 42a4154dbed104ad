"""Microsoft Agent Framework: OTel semconv for agents, models and tools (otel.py); workflows have keys of their own.

Source: agent-framework-core 1.23.0, agent_framework/observability.py.
"""

from __future__ import annotations

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.convention import Convention, any_of, value
from spanbridge.processors.genai.view import SpanView

_TYPE_BY_NAME = (
    ("workflow.", types.WORKFLOW),
    ("executor.process", types.TASK),
    ("edge_group.process", types.CHAIN),
    ("message.send", types.TASK),
)
_OWN_KEYS = ("workflow.id", "workflow.name", "workflow_builder.name", "executor.id", "edge_group.type", "message.type")


def _span_type(view: SpanView) -> str | None:
    return next((kind for prefix, kind in _TYPE_BY_NAME if view.span.name.startswith(prefix)), None)


CONVENTION = Convention(
    name="agent_framework",
    namespaces=frozenset({"workflow", "workflow_builder", "executor", "edge_group", "message"}),
    recognise=any_of(*_OWN_KEYS),
    only_if=lambda view: _span_type(view) is not None,
    span_type=_span_type,
    inputs=value("workflow.definition"),
)
