"""The trace stage: what needs the whole trace, or the part of it that has come. `stage` has its order."""

from spanbridge.processors.genai.trace.stage import GenAiTrace

__all__ = ["GenAiTrace"]
