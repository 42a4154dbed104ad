"""Spans that other conventions wrote: what MLflow derives from them when it stores them.

The `genai` processor has normally set every `mlflow.*` attribute already. Where one is missing and the span has a key
from which MLflow would derive it, MLflow's own translators are asked, field by field, in the order of
`mlflow.tracing.otel.translation.translate_span_when_storing`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from mlflow.tracing.constant import SpanAttributeKey
from mlflow.tracing.otel.translation import (
    _get_input_value,
    _get_message_format,
    _get_model_name,
    _get_model_provider,
    _get_output_value,
    _get_token_usage,
    _get_tool_definitions,
    translate_span_type_from_otel,
)

from spanbridge.collector.exporters.mlflow.database.bulk.values import Unfit, as_json

Event: TypeAlias = dict[str, Any]
"""A span event as MLflow's JSON holds it: name, time_unix_nano, attributes (Python values)."""

TYPE, INPUTS, OUTPUTS, USAGE, FORMAT, TOOLS, MODEL, PROVIDER = (1 << bit for bit in range(8))
_PRESENT = 8
_ALL = (1 << _PRESENT) - 1

_ATTRIBUTES = {
    SpanAttributeKey.SPAN_TYPE: TYPE,
    SpanAttributeKey.INPUTS: INPUTS,
    SpanAttributeKey.OUTPUTS: OUTPUTS,
    SpanAttributeKey.CHAT_USAGE: USAGE,
    SpanAttributeKey.MESSAGE_FORMAT: FORMAT,
    SpanAttributeKey.CHAT_TOOLS: TOOLS,
    SpanAttributeKey.MODEL: MODEL,
    SpanAttributeKey.MODEL_PROVIDER: PROVIDER,
}

_SOURCES = {
    TYPE: """openinference.span.kind gen_ai.operation.name span.type entity.type traceloop.span.kind ai.operationId
        gen_ai.request.model lmnr.span.type langfuse.observation.type""",
    INPUTS: """input.value gen_ai.input.messages gen_ai.tool.call.arguments span.type traceloop.entity.input
        gcp.vertex.agent.llm_request gcp.vertex.agent.tool_call_args ai.prompt ai.toolCall.args ai.value ai.values
        ai.operationId agent.messages llm.messages input lmnr.span.input langfuse.observation.input""",
    OUTPUTS: """output.value gen_ai.output.messages gen_ai.tool.call.result span.type traceloop.entity.output
        gcp.vertex.agent.llm_response gcp.vertex.agent.tool_response ai.response.text ai.toolCall.result
        ai.response.object ai.embedding ai.embeddings ai.operationId output lmnr.span.output
        langfuse.observation.output""",
    USAGE: "span.type",
    FORMAT: "voltagent.operation_id voltagent.conversation_id lmnr.span.type",
    TOOLS: "gen_ai.tool.definitions",
    MODEL: """llm.response.model_name llm.model_name llm.request.model_name embedding.model_name
        gen_ai.response.model gen_ai.request.model""",
    PROVIDER: "llm.provider gen_ai.provider.name gen_ai.system",
}
"""The attributes from which MLflow 3.17's translators derive a field (mlflow/tracing/otel/translation/*.py)."""

_SOURCE_PREFIXES = {
    "lk.": TYPE | INPUTS | OUTPUTS | FORMAT,
    "gen_ai.prompt.": INPUTS,
    "gen_ai.completion.": INPUTS | OUTPUTS,
    "gen_ai.usage.": USAGE,
    "llm.token_count.": USAGE,
    "llm.usage.": USAGE,
    "usage.": USAGE,
}

_MOST_KEYS = 10_000


class _Bits(dict[str, int]):
    """Attribute key -> the fields MLflow may derive from it, and, shifted by _PRESENT, the field it is itself.

    Learns the keys it is asked for, up to a bound.
    """

    def __missing__(self, key: str) -> int:
        bits = _ATTRIBUTES.get(key, 0) << _PRESENT
        for field, sources in _SOURCES.items():
            bits |= field if key in sources.split() else 0
        for prefix, fields in _SOURCE_PREFIXES.items():
            bits |= fields if key.startswith(prefix) else 0
        if len(self) >= _MOST_KEYS:
            self.clear()
        self[key] = bits
        return bits


_bits = _Bits()


def translate(attributes: dict[str, str], events: list[Event]) -> None:
    """Add to a span's stored attributes what MLflow's translators would.

    Raises:
        Unfit: a translator failed or gave something other than text.
    """
    bits = INPUTS | OUTPUTS if events else 0
    for key in attributes:
        bits |= _bits[key]
    present = bits >> _PRESENT
    if present & TYPE and attributes[SpanAttributeKey.SPAN_TYPE].strip() in ("null", '"UNKNOWN"'):
        present ^= TYPE
    if not present & MODEL and _names_a_model(attributes):
        bits |= MODEL
    if '"gemini-cli"' in attributes.get("gen_ai.agent.name", ""):
        bits |= FORMAT
    wanted = bits & ~present & _ALL
    if wanted & (INPUTS | OUTPUTS):
        wanted |= MODEL & ~present  # what is derived may name one
    if wanted:
        _fill(wanted, attributes, events)


def _names_a_model(attributes: dict[str, str]) -> bool:
    """Whether inputs or outputs may hold an object with a key "model", which an escape may hide."""
    for key in (SpanAttributeKey.INPUTS, SpanAttributeKey.OUTPUTS):
        text = attributes.get(key, "")
        if '"model"' in text or "\\u00" in text:
            return True
    return False


def _fill(wanted: int, attributes: dict[str, str], events: list[Event]) -> None:
    derivations: tuple[tuple[str, Callable[[], Any], Callable[[Any], str]], ...] = (
        (SpanAttributeKey.SPAN_TYPE, lambda: translate_span_type_from_otel(attributes), as_json),
        (SpanAttributeKey.INPUTS, lambda: _get_input_value(attributes, events), _text),
        (SpanAttributeKey.OUTPUTS, lambda: _get_output_value(attributes, events), _text),
        (SpanAttributeKey.CHAT_USAGE, lambda: _get_token_usage(attributes), as_json),
        (SpanAttributeKey.MESSAGE_FORMAT, lambda: _get_message_format(attributes), as_json),
        (SpanAttributeKey.CHAT_TOOLS, lambda: _get_tool_definitions(attributes), _text),
        (SpanAttributeKey.MODEL, lambda: _get_model_name(attributes), as_json),
        (SpanAttributeKey.MODEL_PROVIDER, lambda: _get_model_provider(attributes), as_json),
    )
    try:
        for key, derive, write in derivations:
            if not wanted & _ATTRIBUTES[key] or (key == SpanAttributeKey.MESSAGE_FORMAT and key in attributes):
                continue  # the derivation of inputs may have set the format
            if value := derive():
                attributes[key] = write(value)
    except Exception as error:
        raise Unfit("MLflow's translators failed on a span") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value
