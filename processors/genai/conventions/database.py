"""Plain database client spans, and the vector stores among them.

Source: OTel semantic conventions for databases, current and deprecated names; OpenLLMetry's vector store events
(`db.query.result`, `db.search.result`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanbridge.processors.genai import span_types as types
from spanbridge.processors.genai.content.documents import document
from spanbridge.processors.genai.convention import Content, Convention, Event, any_of
from spanbridge.processors.genai.view import SpanView

_VECTOR_STORES = frozenset(
    {
        "chroma",
        "chromadb",
        "lancedb",
        "marqo",
        "milvus",
        "pg_vector",
        "pgvector",
        "pinecone",
        "qdrant",
        "simple_vector_store",
        "vespa",
        "weaviate",
    }
)
_READS = ("query", "search", "get", "select", "fetch", "retriev", "peek", "scroll", "recommend")
_STATEMENT = ("db.query.text", "db.statement", "db.vector.query.content")
_RESULTS = ("db.query.result", "db.search.result")


def _span_type(view: SpanView) -> str:
    """Return RETRIEVER for a read of a vector store; anything else is a TASK, as MLflow knows no database."""
    system = (view.name("db.system.name", "db.system") or "").lower()
    operation = (view.name("db.operation.name", "db.operation") or view.span.name).lower()
    is_vector = system in _VECTOR_STORES or bool(view.layout.under("db.vector."))
    return types.RETRIEVER if is_vector and any(word in operation for word in _READS) else types.TASK


def _inputs(view: SpanView) -> Any:
    statement = view.first(*_STATEMENT)
    if statement is None or not view.span.parent_span_id:
        return None
    told = {
        "system": view.first("db.system.name", "db.system"),
        "namespace": view.first("db.namespace", "db.name"),
        "collection": view.first("db.collection.name", "db.sql.table"),
        "statement": statement,
    }
    return {key: item for key, item in told.items() if item is not None}


def _events(_: SpanView, events: Sequence[Event]) -> Content:
    rows = [
        {key.removeprefix(name + "."): value for key, value in fields.items()}
        for name, fields in events
        if name in _RESULTS
    ]
    found = [shaped for row in rows if (shaped := document(row)) is not None]
    return None, found or None


CONVENTION = Convention(
    name="database",
    namespaces=frozenset({"db"}),
    recognise=any_of("db.system", "db.system.name"),
    span_type=_span_type,
    inputs=_inputs,
    events=_events,
)
