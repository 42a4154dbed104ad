"""MLflow's span types (mlflow.entities.SpanType). An application may set any other text as `mlflow.spanType`."""

from __future__ import annotations

LLM = "LLM"
CHAIN = "CHAIN"
AGENT = "AGENT"
TOOL = "TOOL"
CHAT_MODEL = "CHAT_MODEL"
RETRIEVER = "RETRIEVER"
PARSER = "PARSER"
EMBEDDING = "EMBEDDING"
RERANKER = "RERANKER"
MEMORY = "MEMORY"
UNKNOWN = "UNKNOWN"
WORKFLOW = "WORKFLOW"
TASK = "TASK"
GUARDRAIL = "GUARDRAIL"
EVALUATOR = "EVALUATOR"

MODEL_CALLS = frozenset({LLM, CHAT_MODEL})
"""Types whose inputs and outputs are a conversation with a model."""
