"""Makers of traces: the bench mix, and a plain way to write a span.

The mix is the one the speed of MLflow is quoted for: traces of 8 spans (an agent, two tools, a retrieval, four model
calls), about 0.8 KB a span on the wire, 9 resource attributes, GenAI semantic conventions with content.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from spanbridge.collector.exporters import SerializedTrace
from spanbridge.processors.attributes import assign
from spanbridge.processors.types import Batch, Context, Trace

START_NS = 1_760_000_000_000_000_000
MS = 1_000_000

BENCH_RESOURCE = {
    "service.name": "support-agent",
    "service.version": "4.11.2",
    "service.namespace": "customer-care",
    "service.instance.id": "6f1c2f9e-52d6-4f0a-9d0c-7f6c1f1d2b3a",
    "deployment.environment.name": "production",
    "host.name": "support-agent-7d9f6c5b4-x2x8q",
    "telemetry.sdk.language": "python",
    "telemetry.sdk.name": "opentelemetry",
    "telemetry.sdk.version": "1.38.0",
}

_VOCABULARY = (
    "order shipment refund invoice customer account payment delivery address parcel status question answer policy "
    "return warranty exchange discount voucher basket package tracking number issue ticket agent reply help thanks"
)
_WORDS = _VOCABULARY.split()


def attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    """Attributes of Python values."""
    result = []
    for key, value in values.items():
        attribute = KeyValue(key=key)
        assign(attribute.value, value)
        result.append(attribute)
    return result


def span(
    trace_id: bytes,
    span_id: bytes,
    parent: bytes = b"",
    values: Mapping[str, Any] | None = None,
    *,
    name: str = "span",
    start_ms: float = 0,
    end_ms: float = 100,
    status: int = Status.STATUS_CODE_UNSET,
    message: str = "",
) -> Span:
    """A span; times are in ms after START_NS."""
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent,
        name=name,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=START_NS + int(start_ms * MS),
        end_time_unix_nano=START_NS + int(end_ms * MS),
        attributes=attributes(values or {}),
        status=Status(code=status, message=message),
    )


def trace(spans: Iterable[Span], resource: Mapping[str, Any] | None = None, context: Context | None = None) -> Trace:
    """A trace of one resource and one scope."""
    spans = list(spans)
    resource_spans = ResourceSpans(
        resource=Resource(attributes=attributes(resource or {})),
        scope_spans=[ScopeSpans(scope=InstrumentationScope(name="tests", version="1"), spans=spans)],
    )
    return Trace(spans[0].trace_id, Batch(resource_spans=[resource_spans]), context or Context())


def serialized(traces: Iterable[Trace]) -> list[SerializedTrace]:
    """Traces as an exporter gets them."""
    return [SerializedTrace.of(one) for one in traces]


def batch(traces: Iterable[Trace]) -> Batch:
    """One OTLP request of several traces."""
    request = Batch()
    for one in traces:
        request.resource_spans.extend(one.batch.resource_spans)
    return request


def bench_trace(number: int, *, normalized: bool = False, start_ms: float | None = None) -> Trace:
    """Trace `number` of the bench mix; equal numbers give equal traces.

    `normalized` adds the `mlflow.*` attributes which the `genai` and `tag_schema` processors add.
    """
    dice = random.Random(number)
    trace_id, ids = dice.randbytes(16), [dice.randbytes(8) for _ in range(8)]
    offset = number * 10 % 3_600_000 if start_ms is None else start_ms
    spans = []
    for position, make in enumerate((_agent, _chat, _tool, _chat, _retrieval, _chat, _tool, _chat)):
        name, values, extra = make(dice)
        root = position == 0
        spans.append(
            span(
                trace_id,
                ids[position],
                b"" if root else ids[0],
                values | extra if normalized else values,
                name=name,
                start_ms=offset + position * 120,
                end_ms=offset + (1000 if root else position * 120 + 100),
                status=Status.STATUS_CODE_OK if root else Status.STATUS_CODE_UNSET,
            )
        )
    return trace(spans, BENCH_RESOURCE)


def _text(dice: random.Random, words: int) -> str:
    return " ".join(dice.choices(_WORDS, k=words))


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _agent(dice: random.Random) -> tuple[str, dict[str, Any], dict[str, Any]]:
    question, answer = _text(dice, 18), _text(dice, 20)
    values = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "openai",
        "gen_ai.agent.name": "support-agent",
        "gen_ai.conversation.id": f"conversation-{dice.randrange(10_000)}",
        "user.id": f"user-{dice.randrange(1000)}",
        "gen_ai.input.messages": json.dumps([_message("user", question)]),
        "gen_ai.output.messages": json.dumps([_message("assistant", answer)]),
    }
    extra = {
        "mlflow.spanType": "AGENT",
        "mlflow.spanInputs": json.dumps({"messages": [{"role": "user", "content": question}]}),
        "mlflow.spanOutputs": json.dumps({"choices": [{"message": {"role": "assistant", "content": answer}}]}),
        "mlflow.llm.provider": "openai",
        "mlflow.traceTag.mlflow.traceName": "invoke_agent support-agent",
        "mlflow.traceTag.environment": "production",
        "mlflow.traceTag.application": "support-agent",
    }
    return "invoke_agent support-agent", values, extra


def _chat(dice: random.Random) -> tuple[str, dict[str, Any], dict[str, Any]]:
    question, answer = _text(dice, 28), _text(dice, 16)
    tokens_in, tokens_out = dice.randrange(50, 3000), dice.randrange(10, 800)
    values = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": f"chatcmpl-{dice.randbytes(12).hex()}",
        "gen_ai.request.temperature": 0.2,
        "gen_ai.request.max_tokens": 1024,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": tokens_in,
        "gen_ai.usage.output_tokens": tokens_out,
        "server.address": "api.openai.com",
        "gen_ai.input.messages": json.dumps([_message("user", question)]),
        "gen_ai.output.messages": json.dumps([_message("assistant", answer)]),
    }
    usage = {"input_tokens": tokens_in, "output_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
    extra = {
        "mlflow.spanType": "CHAT_MODEL",
        "mlflow.spanInputs": json.dumps({"messages": [{"role": "user", "content": question}]}),
        "mlflow.spanOutputs": json.dumps({"choices": [{"message": {"role": "assistant", "content": answer}}]}),
        "mlflow.chat.tokenUsage": json.dumps(usage),
        "mlflow.llm.model": "gpt-4o-mini-2024-07-18",
        "mlflow.llm.provider": "openai",
    }
    return "chat gpt-4o-mini", values, extra


def _tool(dice: random.Random) -> tuple[str, dict[str, Any], dict[str, Any]]:
    arguments = json.dumps({"order": dice.randrange(10**9), "fields": ["status", "eta"], "note": _text(dice, 12)})
    result = json.dumps({"status": "shipped", "eta": "2 days", "log": _text(dice, 24)})
    values = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "order_lookup",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": f"call_{dice.randbytes(12).hex()}",
        "gen_ai.tool.call.arguments": arguments,
        "gen_ai.tool.call.result": result,
    }
    extra = {"mlflow.spanType": "TOOL", "mlflow.spanInputs": arguments, "mlflow.spanOutputs": result}
    return "execute_tool order_lookup", values, extra


def _retrieval(dice: random.Random) -> tuple[str, dict[str, Any], dict[str, Any]]:
    query = _text(dice, 10)
    documents = json.dumps([{"id": f"doc-{dice.randrange(9999)}", "content": _text(dice, 25)} for _ in range(2)])
    values = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "policies",
        "gen_ai.retrieval.query.text": query,
        "gen_ai.retrieval.documents": documents,
        "db.system.name": "postgresql",
    }
    extra = {
        "mlflow.spanType": "RETRIEVER",
        "mlflow.spanInputs": json.dumps({"query": query}),
        "mlflow.spanOutputs": documents,
    }
    return "retrieval policies", values, extra
