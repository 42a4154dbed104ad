"""The `mlflow.*` attributes of a span that genai reads and writes.

Source: mlflow.tracing.constant (SpanAttributeKey, TraceMetadataKey), and for the keys that a span's attributes lend to
its trace, README.md here.
"""

from __future__ import annotations

SPAN_TYPE = "mlflow.spanType"
INPUTS = "mlflow.spanInputs"
OUTPUTS = "mlflow.spanOutputs"
CONTENT = (INPUTS, OUTPUTS)
USAGE = "mlflow.chat.tokenUsage"
COST = "mlflow.llm.cost"
MODEL = "mlflow.llm.model"
PROVIDER = "mlflow.llm.provider"
TOOLS = "mlflow.chat.tools"
MESSAGE_FORMAT = "mlflow.message.format"

STATED_NAME = "mlflow.traceTag.mlflow.traceName"
METADATA_PREFIX = "mlflow.traceMetadata."
METADATA_KEYS = ("mlflow.sourceRun", "mlflow.modelId")
CLIENT_REQUEST_ID = "mlflow.clientRequestId"
