"""GenAI normalization: spans of every convention read in MLflow as if MLflow had traced them. See README.md here."""

from spanbridge.processors.genai.config import GenAiConfig, SourceConfig
from spanbridge.processors.genai.head import GenAi
from spanbridge.processors.genai.trace import GenAiTrace

__all__ = ["GenAi", "GenAiConfig", "GenAiTrace", "SourceConfig"]
