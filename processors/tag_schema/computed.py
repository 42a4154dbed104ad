"""Tags computed from the whole trace, after the `genai` processor has given its spans their types and outputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import orjson

from spanbridge.processors.attributes import MAX_DEPTH, Value, find
from spanbridge.processors.tag_schema.view import SpanView, TraceView

Compute: TypeAlias = Callable[[TraceView, Mapping[str, str]], Value]
"""From a trace and the tags it has so far to a value, or None if there is nothing to say."""

_OUTPUTS = "mlflow.spanOutputs"
_DOCUMENTS = "gen_ai.retrieval.documents"
_INDEXED_DOCUMENT = re.compile(r"retrieval\.documents\.(\d+)\.")


def domain_count(_view: TraceView, tags: Mapping[str, str]) -> int:
    """Return how many items the tag `domains` has."""
    return len(tags["domains"].split(",")) if tags.get("domains") else 0


def is_multi_domain(view: TraceView, tags: Mapping[str, str]) -> bool:
    """Return whether there is more than one domain, by the tag `domain_count` where it holds a number."""
    given = tags.get("domain_count", "")
    return (int(given[:9]) if given.isdecimal() else domain_count(view, tags)) > 1


def utility_tools_used(view: TraceView, _tags: Mapping[str, str]) -> list[Value] | None:
    """Return the names of the tools, each once, in the order in which they were first started."""
    tools = sorted(
        (each for each in view.spans if each.type == "TOOL"), key=lambda tool: tool.span.start_time_unix_nano
    )
    return list(dict.fromkeys(_tool_name(tool) for tool in tools)) or None


def source_count(view: TraceView, _tags: Mapping[str, str]) -> int:
    """Return how many documents were retrieved; those of a retriever that another one asked are not counted again."""
    retrievers = {each.span.span_id: each for each in view.spans if each.type == "RETRIEVER"}
    outermost = _outermost(retrievers, view) if len(retrievers) > 1 else retrievers.values()
    return sum([_document_count(retriever) for retriever in outermost])


def _outermost(retrievers: Mapping[bytes, SpanView], view: TraceView) -> list[SpanView]:
    parents = {other.span.span_id: other.span.parent_span_id for other in view.spans}
    return [
        retriever
        for retriever in retrievers.values()
        if not any(above in retrievers for above in _ancestors(retriever.span.parent_span_id, parents))
    ]


def response_length(view: TraceView, _tags: Mapping[str, str]) -> int:
    """Return how many characters the final answer has: the top span's output, or else that of the last model call."""
    answered = view.top
    if _OUTPUTS not in view.given:
        calls = [each for each in view.spans if each.type in ("LLM", "CHAT_MODEL") and _OUTPUTS in each.attributes]
        answered = max(calls, key=lambda call: call.span.end_time_unix_nano, default=None)
    return len(final_answer(answered.value(_OUTPUTS))) if answered else 0


def has_error(view: TraceView, _tags: Mapping[str, str]) -> bool:
    """Return whether any span failed."""
    return bool(view.failed)


def error_type(view: TraceView, _tags: Mapping[str, str]) -> str | None:
    """Return the exception's type of the top span, if it failed, or else of the first failing span with one."""
    in_order = sorted(view.failed, key=lambda each: (each is not view.top, each.span.start_time_unix_nano))
    return next(filter(None, map(_exception_type, in_order)), None)


COMPUTED: dict[str, Compute] = {
    compute.__name__: compute
    for compute in (
        domain_count,
        is_multi_domain,
        utility_tools_used,
        source_count,
        response_length,
        has_error,
        error_type,
    )
}
"""What can be computed, by the name a schema asks for it."""


def _tool_name(tool: SpanView) -> str:
    return tool.text("gen_ai.tool.name") or tool.text("tool.name") or tool.span.name


def _ancestors(parent: bytes, parents: Mapping[bytes, bytes]) -> Iterator[bytes]:
    for _ in parents:  # at most as many as there are spans, should they go in a circle
        yield parent
        parent = parents.get(parent, b"")


def _document_count(retriever: SpanView) -> int:
    for key in (_OUTPUTS, _DOCUMENTS):
        documents = _parsed(retriever.value(key))
        if isinstance(documents, dict):
            documents = documents.get("documents")
        if isinstance(documents, list):
            return len(documents)
    indexed = map(_INDEXED_DOCUMENT.match, retriever.attributes)
    return len({match[1] for match in indexed if match})


def _exception_type(failed: SpanView) -> str:
    for event in reversed(failed.span.events):
        raised = find(event.attributes, "exception.type")
        if raised is not None and raised.string_value:
            return raised.string_value
    return failed.text("error.type")


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[", '"'):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


_ANSWER_KEYS = ("messages", "message", "content", "parts", "text", "output", "answer", "response", "result")


def final_answer(outputs: Value) -> str:
    """Return the text a reader would call the answer: of chat messages the last one's, of choices the first one's.

    Outputs of an unknown shape are returned as text as a whole.
    """
    parsed = _parsed(outputs)
    answer = _answer(parsed)
    if answer is not None:
        return answer
    return outputs if isinstance(outputs, str) else orjson.dumps(parsed, default=repr).decode()


def _answer(value: Any, depth: int = 0) -> str | None:
    if isinstance(value, str):
        return value
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, list):
        return _answer_of_list(value, depth + 1)
    if isinstance(value, dict):
        choices = value.get("choices")
        inner = choices[:1] if isinstance(choices, list) else [value[key] for key in _ANSWER_KEYS if key in value]
        return _first_answer(inner, depth + 1)
    return None


def _first_answer(values: Iterable[Any], depth: int) -> str | None:
    for value in values:
        if answer := _answer(value, depth):
            return answer
    return None


def _answer_of_list(items: list[Any], depth: int) -> str | None:
    """Return the text of a list: parts of one message make one text; of messages the last that has one counts."""
    parts = [item for item in items if isinstance(item, dict) and item.get("type") in ("text", "output_text")]
    together = "".join(filter(None, (_answer(part, depth) for part in parts)))
    return together or _first_answer(reversed(items), depth)
