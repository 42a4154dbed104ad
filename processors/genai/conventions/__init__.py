"""Every convention, best first: for each fact the first one that states it counts.

Frameworks stand before the general conventions that they also write, and say more precisely what was meant.
"""

from __future__ import annotations

from spanbridge.processors.genai.convention import Convention
from spanbridge.processors.genai.conventions import (
    agent_framework,
    autogen,
    claude_code,
    codex,
    database,
    gemini_cli,
    google_adk,
    haystack,
    http,
    laminar,
    langfuse,
    langsmith,
    livekit,
    mcp,
    openinference,
    otel,
    pydantic_ai,
    semantic_kernel,
    spring_ai,
    strands,
    traceloop,
    vercel_ai,
    voltagent,
)

CONVENTIONS: tuple[Convention, ...] = tuple(
    module.CONVENTION
    for module in (
        claude_code,
        codex,
        gemini_cli,
        langsmith,
        langfuse,
        vercel_ai,
        pydantic_ai,
        strands,
        google_adk,
        livekit,
        spring_ai,
        haystack,
        semantic_kernel,
        agent_framework,
        autogen,
        voltagent,
        laminar,
        openinference,
        traceloop,
        otel,
        mcp,
        database,
        http,
    )
)
