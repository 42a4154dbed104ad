"""Microsoft Semantic Kernel: OTel semconv (otel.py), content in log records, and the names of available functions.

Source: semantic-kernel 1.45.0, utils/telemetry/model_diagnostics.
"""

from __future__ import annotations

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.tools import named_tools
from spanbridge.processors.genai.convention import Convention, any_under, value
from spanbridge.processors.genai.view import SpanView


def _span_type(view: SpanView) -> str | None:
    return types.CHAIN if view.span.name == "AutoFunctionInvocationLoop" else None


CONVENTION = Convention(
    name="semantic_kernel",
    namespaces=frozenset({"sk"}),
    recognise=any_under("sk."),
    span_type=_span_type,
    tools=value("sk.available_functions", shape=named_tools),
)
