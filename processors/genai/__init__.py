"""GenAI normalization: spans of every convention read in MLflow as if MLflow had traced them. See README.md here."""

from processors.genai.config import GenAiConfig, SourceConfig
from processors.genai.head import GenAi
from processors.genai.trace import GenAiTrace

__all__ = ["GenAi", "GenAiConfig", "GenAiTrace", "SourceConfig"]
