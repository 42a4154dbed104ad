"""Retrieved documents, shaped as MLflow's UI lists them: `page_content`, `metadata` and `id` (isRetrieverDocument)."""

from __future__ import annotations

from typing import Any

from spanbridge.processors.genai.values import as_object, decoded, first

_CONTENT = ("page_content", "document.content", "content", "text", "pageContent", "document")
_ID = ("id", "document.id", "document_id")
_SCORE = ("score", "document.score", "distance", "relevance_score")
_METADATA = ("metadata", "document.metadata", "meta")


def documents(value: Any) -> list[dict[str, Any]] | None:
    """A list of documents of any make, or None if the value is not one."""
    value = decoded(value)
    if not isinstance(value, list) or not value:
        return None
    shaped = [document(item) for item in map(decoded, value)]
    return [item for item in shaped if item] if all(shaped) else None


def document(item: Any) -> dict[str, Any] | None:
    """One document, from an object or a flattened row; a document of which only the id is told keeps that."""
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
