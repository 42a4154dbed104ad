"""Retrieved documents, shaped as MLflow's UI lists them: `page_content`, `metadata` and `id` (isRetrieverDocument)."""

from __future__ import annotations

from typing import Any

from spanbridge.processors.genai.values import as_object, decoded, first

_CONTENT = ("page_content", "document.content", "content", "text", "pageContent", "document")
_ID = ("id", "document.id", "document_id")
_SCORE = ("score", "document.score", "distance", "relevance_score")
_METADATA = ("metadata", "document.metadata", "meta")


def documents(value: Any) -> list[dict[str, Any]] | None:
    """Return a list of documents in any shape as MLflow's UI lists them; None if the value is no such list."""
    value = decoded(value)
    if not isinstance(value, list) or not value:
        return None
    shaped = [document(item) for item in map(decoded, value)]
    return [item for item in shaped if item] if all(shaped) else None


def document(item: Any) -> dict[str, Any] | None:
    """Return one document as MLflow's UI lists it, from an object or a flattened row.

    A document that states only its id is kept with empty content; None if there is neither content nor id.
    """
    if isinstance(item, str):
        return {"page_content": item}
    if not isinstance(item, dict):
        return None
    content, identity, score = first(item, _CONTENT), first(item, _ID), first(item, _SCORE)
    if content is None and identity is None:
        return None
    metadata = dict(as_object(first(item, _METADATA)))
    if score is not None:
        metadata.setdefault("score", score)
    shaped: dict[str, Any] = {"page_content": content if isinstance(content, str) else ""}
    if content is not None and not isinstance(content, str):
        metadata.setdefault("content", content)
    if metadata:
        shaped["metadata"] = metadata
    return shaped if identity is None else {**shaped, "id": str(identity)}
