"""The keys under which conventions name the session and the user of a trace, best first."""

from __future__ import annotations

SESSION, USER = "session.id", "user.id"
CONVERSATION = "gen_ai.conversation.id"
METADATA = "metadata"
CODEX_THREAD = "thread.id"

SESSION_KEYS = (
    "mlflow.trace.session",
    SESSION,
    "langfuse.session.id",
    CONVERSATION,
    "ai.telemetry.metadata.sessionId",
    "ai.telemetry.metadata.session_id",
    "langsmith.metadata.session_id",
    "langsmith.metadata.thread_id",
    "langsmith.metadata.conversation_id",
    "traceloop.association.properties.session_id",
    "traceloop.association.properties.sessionId",
    "traceloop.association.properties.thread_id",
    "traceloop.association.properties.conversation_id",
    "traceloop.association.properties.chat_id",
    "lmnr.association.properties.session_id",
    "spring.ai.chat.client.conversation.id",
    "gcp.vertex.agent.session_id",
    "voltagent.conversation_id",
    "conversation.id",
    CODEX_THREAD,
)
USER_KEYS = (
    "mlflow.trace.user",
    USER,
    "langfuse.user.id",
    "enduser.id",
    "ai.telemetry.metadata.userId",
    "ai.telemetry.metadata.user_id",
    "langsmith.metadata.user_id",
    "traceloop.association.properties.user_id",
    "traceloop.association.properties.userId",
    "lmnr.association.properties.user_id",
    "voltagent.user_id",
    "gen_ai.user",
    "gen_ai.request.user",
    "llm.user",
    "enduser.pseudo.id",
    "user.email",
)
SESSION_FIELDS = ("session_id", "sessionId", "thread_id", "conversation_id")
USER_FIELDS = ("user_id", "userId")
"""Fields of an object under METADATA that name them too."""

IDENTITY_KEYS = (*SESSION_KEYS, *USER_KEYS, METADATA)
"""Where a span, a resource or a log record may name a session or a user."""
