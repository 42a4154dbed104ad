"""Traces for the tests of the MLflow exporter: whole ones, and one for each way to spoil a request to MLflow."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.processors.attributes import put
from spanbridge.processors.types import Batch, Trace, spans

MS = 1_000_000


START = time.time_ns() // MS * MS
"""When all spans begin: a trace of any number of them lasts 20 ms, whatever the clock does meanwhile."""


def add_span(
    trace: Trace, name: str, parent: bytes = b"", *, resource: int = 0, scope: tuple[str, str] = ("", ""), **fields: Any
) -> Span:
    """Append a span to the n-th resource of a trace."""
    while len(trace.batch.resource_spans) <= resource:
        trace.batch.resource_spans.add()
    scope_spans = trace.batch.resource_spans[resource].scope_spans.add()
    scope_spans.scope.name, scope_spans.scope.version = scope
    attributes = fields.pop("attributes", {})
    basics = {"trace_id": trace.trace_id, "span_id": os.urandom(8), "parent_span_id": parent, "name": name}
    times = {"start_time_unix_nano": START, "end_time_unix_nano": START + 20 * MS}
    span = scope_spans.spans.add(**{**basics, **times, **fields})
    for key, value in attributes.items():
        put(span.attributes, key, value)
    return span


def new_trace(service: str = "shop", **fields: Any) -> Trace:
    """A trace without spans, of one service."""
    trace = Trace(os.urandom(16), Batch(), **fields)
    put(trace.batch.resource_spans.add().resource.attributes, "service.name", service)
    return trace


def whole_trace(name: str = "checkout", service: str = "shop", **fields: Any) -> Trace:
    """A root and its child."""
    trace = new_trace(service, **fields)
    root = add_span(trace, name)
    add_span(trace, "chat", root.span_id)
    return trace


def root_of(trace: Trace) -> Span:
    """The root span itself, not a copy."""
    assert trace.root is not None
    return trace.root


def _attribute(key: str, value: Any) -> Callable[[Trace], None]:
    return lambda trace: put(root_of(trace).attributes, key, value)


def _on_all(**fields: Any) -> Callable[[Trace], None]:
    def spoil(trace: Trace) -> None:
        for span in spans(trace.batch):
            for field, value in fields.items():
                setattr(span, field, value)

    return spoil


def _resource(key: str, value: Any) -> Callable[[Trace], None]:
    return lambda trace: put(trace.batch.resource_spans[0].resource.attributes, key, value)


def _extra(**fields: Any) -> Callable[[Trace], None]:
    """One more span, which can't be kept."""
    return lambda trace: add_span(trace, "extra", **{"parent": root_of(trace).span_id, **fields}) and None


def _parent(parent: bytes) -> Callable[[Trace], None]:
    return lambda trace: setattr(list(spans(trace.batch))[1], "parent_span_id", parent)


def _many(trace: Trace) -> None:
    for number in range(10_000):
        root_of(trace).attributes.add(key=f"key{number}").value.int_value = number


def _twice(trace: Trace) -> None:
    child = list(spans(trace.batch))[1]
    trace.batch.resource_spans[0].scope_spans[-1].spans.add().CopyFrom(child)


def _event(key: str, value: Any, name: str = "event") -> Callable[[Trace], None]:
    return lambda trace: put(root_of(trace).events.add(name=name, time_unix_nano=1).attributes, key, value)


def _status(code: int) -> Callable[[Trace], None]:
    return lambda trace: setattr(root_of(trace).status, "code", code)


def _link(trace: Trace) -> None:
    root_of(trace).links.add(trace_id=b"short", span_id=b"waytoolongforaspanid")


def _several(*spoilers: Callable[[Trace], None]) -> Callable[[Trace], None]:
    def spoil(trace: Trace) -> None:
        for one in spoilers:
            one(trace)

    return spoil


_VERCEL = _attribute("ai.operationId", "ai.generateText.doGenerate")
_DEEP = "[" * 100_000
_HALF_EMOJI = '{"messages": [{"role": "user", "content": "cut \\ud83d"}]}'

REFUSED: dict[str, Callable[[Trace], None]] = {
    "session id too long": _attribute("session.id", "s" * 251),
    "conversation id too long": _attribute("gen_ai.conversation.id", "s" * 251),
    "session id a long list": _attribute("session.id", list(range(300))),
    "session id with half an emoji": _attribute("session.id", '"cut \\ud83d"'),
    "trace name too long": _attribute("mlflow.traceTag.mlflow.traceName", "n" * 4097),
    "tag with half an emoji": _attribute("mlflow.traceTag.mood", '"cut \\ud83d"'),
    "resource attribute of bytes": _resource("service.blob", b"\x00\xff"),
    "resource attribute with bytes inside": _resource("service.blobs", {"a": [b"\xff"]}),
    "start after the year 2262": _on_all(start_time_unix_nano=1 << 63, end_time_unix_nano=(1 << 63) + 1),
    "end after the year 2262": _on_all(end_time_unix_nano=1 << 63),
    "no span id": _extra(span_id=b""),
    "no trace id": _extra(trace_id=b""),
    "trace id too long": _extra(trace_id=b"x" * 17),
    "span id too long": _extra(span_id=b"x" * 9),
    "parent id too long": _parent(b"x" * 9),
    "cost a list": _attribute("mlflow.llm.cost", "[1, 2]"),
    "cost of words": _attribute("mlflow.llm.cost", '{"input_cost": "much", "output_cost": 0.5}'),
    "token usage of words": _attribute("mlflow.chat.tokenUsage", '{"input_tokens": "3"}'),
    "span type a list": _attribute("mlflow.spanType", ["LLM"]),
    "span type a map": _attribute("mlflow.spanType", {"a": "LLM"}),
    "operation name a list": _attribute("gen_ai.operation.name", ["chat"]),
    "operation name a JSON list": _attribute("gen_ai.operation.name", '["chat"]'),
    "vercel operation a JSON map": _attribute("ai.operationId", ' {"a": NaN}'),
    "openinference kind a map": _attribute("openinference.span.kind", {"a": "LLM"}),
    "entity type a list": _attribute("entity.type", ["agent", "llm"]),
    "vercel tools a number": _several(_VERCEL, _attribute("ai.prompt.tools", 5)),
    "vercel tools a text of a number": _several(_VERCEL, _attribute("ai.prompt.tools", "5")),
    "vercel tools nothing": _several(_VERCEL, _attribute("ai.prompt.tools", None)),
    "vercel tools deeper than the stack": _several(_VERCEL, _attribute("ai.prompt.tools", [_DEEP])),
    "vercel tools in a text, deeper than the stack": _several(
        _VERCEL, _attribute("ai.prompt.tools", json.dumps([_DEEP]))
    ),
    "vercel prompt deeper than the stack": _several(_VERCEL, _attribute("ai.prompt.x", json.dumps(_DEEP))),
    "claude tokens infinite": _several(
        _attribute("span.type", "claude_code.llm_request"), _attribute("input_tokens", math.inf)
    ),
    "JSON deeper than the stack": _attribute("input.value", _DEEP),
    "JSON maps deeper than the stack": _attribute("anything", '{"a":' * 50_000),
    "JSON deeper than the stack in an event": _event("content", _DEEP, name="gen_ai.user.message"),
    "prompt event of a list": _event("gen_ai.prompt", ["hi"], name="gen_ai.content.prompt"),
    "JSON with a number too long": _attribute("anything", "9" * 5_000),
    "JSON with a number too long inside": _attribute("anything", f'{{"a": [1, -{"9" * 4_301}]}}'),
    "input with half an emoji": _attribute("mlflow.spanInputs", _HALF_EMOJI),
    "foreign input with half an emoji": _attribute("input.value", _HALF_EMOJI),
}
"""What makes MLflow 3.17.2 refuse the whole request, on SQLite too."""

HARMFUL: dict[str, Callable[[Trace], None]] = {
    "a span twice": _twice,
    "NUL in the name": _on_all(name="a\0b"),
    "NUL in the session id": _attribute("session.id", "a\0b"),
    "NUL in a tag": _attribute("mlflow.traceTag.a", "a\0b"),
    "NUL in a resource attribute": _resource("service.version", "a\0b"),
    "NUL in the span type": _attribute("mlflow.spanType", "a\0b"),
    "NUL in the input": _attribute("mlflow.spanInputs", json.dumps({"messages": [{"role": "user", "content": "\0"}]})),
    "user id too long": _attribute("user.id", "u" * 9_000),
    "span type too long": _attribute("mlflow.spanType", "T" * 501),
    "spans location of another": _attribute("mlflow.traceTag.mlflow.trace.spansLocation", "ARTIFACT_REPO"),
    "request id of another": _attribute("mlflow.traceRequestId", "tr-0"),
    "no end": _on_all(end_time_unix_nano=0),
    "no times": _on_all(start_time_unix_nano=0, end_time_unix_nano=0),
    "end before start": _on_all(end_time_unix_nano=1),
    "zero ids": _extra(trace_id=bytes(16), span_id=bytes(8)),
    "NaN in an event": _event("score", math.nan),
    "bytes in an event": _event("blob", b"\x00\xff"),
    "link with bad ids": _link,
    "unknown kind and status": _several(_on_all(kind=77), _status(9)),
    "its own parent": lambda trace: setattr(root_of(trace), "parent_span_id", root_of(trace).span_id),
    "10,000 attributes": _many,
    "a megabyte": _attribute("input.value", "x" * 1_000_000),
    "resource attribute without a value": _resource("service.nothing", None),
    "a resource attribute of NaN": _resource("service.score", math.nan),
}
"""What MLflow takes, at least on SQLite, and stores so that the trace is wrong or unreadable."""
