"""Every convention, best first: for each fact the first one that states it counts.

Frameworks stand before the general conventions that they also write, and say more precisely what was meant.
"""

from __future__ import annotations

from processors.genai.convention import Convention
from processors.genai.conventions import (
    langfuse,
    langsmith,
    openinference,
    otel,
    pydantic_ai,
    strands,
    traceloop,
    vercel_ai,
)

CONVENTIONS: tuple[Convention, ...] = (
    langsmith.CONVENTION,
    langfuse.CONVENTION,
    vercel_ai.CONVENTION,
    pydantic_ai.CONVENTION,
    strands.CONVENTION,
    openinference.CONVENTION,
    traceloop.CONVENTION,
    otel.CONVENTION,
)
