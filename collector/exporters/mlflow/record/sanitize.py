"""Sanitizing of spans: what would make MLflow refuse one, or store it badly, is made harmless in place. Pure.

One bad span makes MLflow refuse the whole request, so nothing that its code can't take may reach it. Each rule
names the MLflow 3.17 module that it protects; `mlflow/` is left out of those names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanbridge.collector.exporters.mlflow.record.values import (
    OPAQUE,
    KeyRule,
    clean_value,
    dumps,
    is_plain,
    loads,
    plain_text,
    text,
    unquoted,
)
from spanbridge.processors.attributes import assign, find, to_python

Value: TypeAlias = str | bool | int | float | AnyValue
"""Of an attribute: what is no text, number or truth value is left as OTLP has it."""

Attributes: TypeAlias = dict[str, Value]
"""The values of attributes by key."""

MAX_TIME = (1 << 63) - 1
"""Times are BIGINT columns (store/tracking/dbmodels/models.py SqlSpan)."""

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
NAME_LENGTH = 4096
ID_LENGTH = 250
TYPE_LENGTH = 500

KEPT = frozenset(
    {
        "mlflow.spanType",
        "mlflow.spanInputs",
        "mlflow.spanOutputs",
        "mlflow.spanLogLevel",
        "mlflow.spanFunctionName",
        "mlflow.spanDescription",
        "mlflow.chat.tokenUsage",
        "mlflow.chat.tools",
        "mlflow.llm.model",
        "mlflow.llm.provider",
        "mlflow.llm.cost",
        "mlflow.message.format",
        "mlflow.linkedPrompts",
        "mlflow.gateway.linkedTraceId",
        "mlflow.trace.intermediate_outputs",
    }
)
"""Those of tracing/constant.py SpanAttributeKey that describe a span. The others are MLflow's own bookkeeping: a
foreign one can make a trace unreadable (mlflow.trace.spansLocation), so no other `mlflow.` attribute passes."""

RENAMED = {"mlflow.trace.session": "session.id", "mlflow.trace.user": "user.id"}
"""Trace metadata keys that senders put on spans, and the attributes MLflow fills that metadata from."""

IDENTIFIERS = frozenset({"session.id", "gen_ai.conversation.id", "user.id"})
"""Columns or metadata of a trace take what is in them (store/tracking/sqlalchemy_store.py log_spans)."""

KIND_KEYS = frozenset(
    {
        "openinference.span.kind",
        "gen_ai.operation.name",
        "traceloop.span.kind",
        "ai.operationId",
        "span.type",
        "entity.type",
        "lmnr.span.type",
        "langfuse.observation.type",
    }
)
"""Looked up in a dict by tracing/otel/translation/*.py, so a list or a map in one of them is a TypeError."""

EVENT_TEXTS = frozenset({"gen_ai.prompt", "gen_ai.completion"})
"""Taken as they are into the preview column by tracing/otel/translation/spring_ai.py."""

_TOKEN_KEYS = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_input_tokens_above_1hr",
)
_WRITTEN_USAGE = re.compile(
    r"\{(?!\})" + "".join(rf'(?:"{key}":(?:0|[1-9][0-9]{{0,14}})(?:,(?!\}})|(?=\}})))?' for key in _TOKEN_KEYS) + r"\}"
)
"""Token usage as the rule for it writes it, in that order and without spaces."""
_COST_KEYS = ("input_cost", "output_cost", "total_cost")


def by_key(attributes: Sequence[KeyValue]) -> Attributes:
    """Return the values of attributes by key; of a repeated key the last one."""
    # A slice of a protobuf field is read faster than the field, and a kind that is not set reads as nothing.
    return {
        attribute.key: (value := attribute.value).string_value or value.int_value or value.double_value or _value(value)
        for attribute in attributes[:]
    }


def _value(value: AnyValue) -> Value:
    """Of what is no text and no number, or reads as nothing."""
    match value.WhichOneof("value"):
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "bool_value":
            return value.bool_value
        case "string_value":
            return ""
        case _:
            return value


def clean_already(span: Span) -> Attributes | None:
    """The attributes of a span that `clean_span` would leave as it is; None if that is not certain.

    Nearly all spans are such, and to see it takes a fifth of what it takes to copy and clean one: texts are looked at
    all at once, and only attributes that have a rule one by one.
    """
    if len(span.name) > NAME_LENGTH or span.events or span.links:
        return None
    attributes = by_key(span.attributes)
    if len(attributes) != len(span.attributes):
        return None
    values = attributes.values()
    texts = [value for value in values if type(value) is str]
    if not is_plain("\n".join((span.name, span.status.message, *texts))):
        return None
    others: list[Any] = [value for value in values if type(value) not in _HARMLESS] if len(texts) < len(values) else []
    if not all(map(_is_clean, others)):
        return None
    # Between them, filter and the dict's own method run no Python for a key that is known.
    ruled = filter(_ruled.__getitem__, attributes)
    return attributes if all(_is_settled(key, attributes[key]) for key in ruled) else None


_HARMLESS = frozenset({bool, int, str})
"""Types of values that need no look of their own: texts are looked at together."""


def _is_ruled(key: str) -> bool:
    return key in _RULES or key in RENAMED or (key.startswith("mlflow.") and key not in KEPT)


_ruled = KeyRule(_is_ruled)


def _is_clean(value: float | AnyValue) -> bool:
    """Whether `clean_value` leaves a value as it is; False if that is not certain."""
    if isinstance(value, float):
        return math.isfinite(value)
    match value.WhichOneof("value"):
        case "int_value" | "bool_value" | None:
            return True
        case "double_value":
            return math.isfinite(value.double_value)
        case "string_value":
            return is_plain(value.string_value)
        case "array_value":
            return all(map(_is_clean, value.array_value.values))
        case _:
            return False


def _is_settled(key: str, value: Value) -> bool:
    if not isinstance(value, str):
        return False
    # What is never the same is not remembered.
    if key == "mlflow.chat.tokenUsage":
        return _WRITTEN_USAGE.fullmatch(value) is not None
    if key in IDENTIFIERS:
        return 0 < len(value) <= ID_LENGTH and unquoted(value) is value
    return len(value) <= _LONGEST_REMEMBERED and _is_left_alone(key, value)


_LONGEST_REMEMBERED = 250


@lru_cache(maxsize=4096)
def _is_left_alone(key: str, found: str) -> bool:
    """Whether the rule for a key leaves a text as it is. Most such texts are one of a few."""
    rule = _RULES.get(key)
    value = AnyValue(string_value=found)
    return rule is not None and rule(value) and value == AnyValue(string_value=found)


def clean_span(span: Span) -> None:
    """Make everything in a span but its ids and times harmless, in place."""
    span.name = text(span.name)[:NAME_LENGTH]
    if span.status.message:
        span.status.message = text(span.status.message)
    _clean_attributes(span.attributes)
    for event in span.events:
        event.name = text(event.name)
        if not 0 < event.time_unix_nano <= MAX_TIME:
            event.time_unix_nano = span.start_time_unix_nano
        for attribute in event.attributes:
            clean_value(attribute.value)
            if attribute.key in EVENT_TEXTS:
                attribute.value.string_value = plain_text(attribute.value)
    for index in reversed(range(len(span.links))):
        link = span.links[index]
        for attribute in link.attributes:
            clean_value(attribute.value)
        if len(link.trace_id) != TRACE_ID_BYTES or len(link.span_id) != SPAN_ID_BYTES:
            del span.links[index]


def _clean_attributes(attributes: Any) -> None:
    for index in reversed(range(len(attributes))):
        attribute = attributes[index]
        key = attribute.key
        if key in RENAMED and find(attributes, RENAMED[key]) is None:
            attribute.key = key = RENAMED[key]
        if key.startswith("mlflow.") and key not in KEPT:
            del attributes[index]
            continue
        clean_value(attribute.value)
        rule = _RULES.get(key)
        if rule is not None and not rule(attribute.value):
            del attributes[index]


def _identifier(value: AnyValue) -> bool:
    """store/tracking/utils/trace_analytics.py validate_session_id; an empty one hides that of another span."""
    found = unquoted(plain_text(value))[:ID_LENGTH]
    value.string_value = found
    return bool(found)


def _span_type(value: AnyValue) -> bool:
    """The column spans.type takes a text alone."""
    if value.WhichOneof("value") != "string_value":
        return False
    value.string_value = unquoted(value.string_value)[:TYPE_LENGTH]
    return bool(value.string_value)


def _kind(value: AnyValue) -> bool:
    """A list of one word is that word; any other list or map is put out of the reach of MLflow's JSON reader."""
    written = plain_text(value).lstrip()
    if not written.startswith(("[", "{")):
        return True
    found = loads(written)
    if isinstance(found, list) and len(found) == 1 and isinstance(found[0], str):
        value.string_value = found[0]
        return _kind(value)
    value.string_value = OPAQUE + written
    return True


def _numbers(keys: tuple[str, ...], number: Callable[[Any], float | None]) -> Callable[[AnyValue], bool]:
    """A rule for a JSON object of numbers; tracing/utils/__init__.py _aggregate_from_nodes adds them up unseen."""

    def rule(value: AnyValue) -> bool:
        found = to_python(value)
        found = loads(found) if isinstance(found, str) else found
        if not isinstance(found, dict):
            return False
        numbers = {key: number(found[key]) for key in keys if key in found}
        kept = {key: item for key, item in numbers.items() if item is not None}
        value.string_value = dumps(kept)
        return bool(kept)

    return rule


def _count(found: Any) -> int | None:
    number = found if type(found) is int else _amount(found)
    return int(number) if number is not None and abs(number) < 1 << 53 else None


def _amount(found: Any) -> float | None:
    if isinstance(found, bool) or not isinstance(found, (int, float, str)):
        return None
    try:
        number = float(found)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _tool_list(value: AnyValue) -> bool:
    """tracing/otel/translation/vercel_ai.py walks over it, and reads each item as JSON."""
    found = to_python(value)
    decoded = loads(found) if isinstance(found, str) else found
    assign(value, decoded if isinstance(decoded, list) else [found])
    clean_value(value)
    return True


_RULES: dict[str, Callable[[AnyValue], bool]] = {
    "mlflow.spanType": _span_type,
    "mlflow.llm.cost": _numbers(_COST_KEYS, _amount),
    "mlflow.chat.tokenUsage": _numbers(_TOKEN_KEYS, _count),
    **dict.fromkeys(IDENTIFIERS, _identifier),
    "ai.prompt.tools": _tool_list,
    **dict.fromkeys(KIND_KEYS, _kind),
}
"""By key, what makes a value harmless in place; False means that the attribute has to go."""
