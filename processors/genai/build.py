"""From the `genai` section to its stages: conventions are read before the disk, what needs the whole trace after."""

from __future__ import annotations

from spanbridge.processors.genai.config import GenAiConfig
from spanbridge.processors.genai.head import GenAi
from spanbridge.processors.genai.trace import GenAiTrace
from spanbridge.processors.stages import BuildContext, Stages, spans_only


def build(config: GenAiConfig, _context: BuildContext) -> Stages:
    """Return the stages of a section."""
    return Stages(head=spans_only(GenAi(config)), trace=GenAiTrace(config))
