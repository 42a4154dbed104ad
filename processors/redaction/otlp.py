"""The processor: redaction of every place of an OTLP request that can hold text."""

from __future__ import annotations

import json
from collections.abc import Callable, MutableSequence, Sequence
from typing import Literal, TypeAlias, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from spanbridge.processors.attributes import find, put, to_python
from spanbridge.processors.patterns import compiled
from spanbridge.processors.redaction.config import MASK, RedactionConfig
from spanbridge.processors.redaction.keys import KeyRules, Verdict
from spanbridge.processors.redaction.text import Tally, TextRules
from spanbridge.processors.types import Batch, Logs

Request = TypeVar("Request", Batch, Logs)
OnRedacted: TypeAlias = Callable[[str, int], None]

Action: TypeAlias = Literal["redacted", "masked", "allowed", "ignored"]
Actions: TypeAlias = tuple[Action, ...]
"""What was done to one attribute, in the words of contrib's summary."""

_SCALARS = ("int_value", "double_value", "bool_value")


class Redaction:
    """The processor: redacts a request of spans or of log records in place.

    Args:
        config: The processor's configuration.
        on_redacted: Is told, once a request and rule, how often the rule masked or removed something. A rule is called
            by its detector's name, `blocked_values`, `blocked_key_patterns`, `allowed_keys` (attributes removed) or
            `error` (values masked because reading them failed).
    """

    def __init__(self, config: RedactionConfig, on_redacted: OnRedacted | None = None) -> None:
        self._keys = KeyRules(config)
        self._rules = TextRules(config, self._keys)
        self._on_redacted = on_redacted
        self._all_types = config.redact_all_types
        self._summarizes, self._names_keys = config.summary in ("info", "debug"), config.summary == "debug"
        counts_ignored = bool(config.ignored_keys or config.ignored_key_patterns) and self._summarizes
        must_read_all = not config.keeps_all_keys or config.redact_all_types or counts_ignored
        hints = "|".join(f"(?:{hint})" for hint in self._rules.hints)
        self._hints = compiled(hints) if hints and not must_read_all else None

    def __call__(self, request: Request) -> Request:
        """Redact the request and return it."""
        request.DiscardUnknownFields()
        tally = Tally()
        if isinstance(request, ExportTraceServiceRequest):
            self._spans(request.resource_spans, tally)
        else:
            self._logs(request.resource_logs, tally)
        if self._on_redacted:
            for rule, count in tally.by_rule.items():
                self._on_redacted(rule, count)
        return request

    def _spans(self, resources: Sequence[ResourceSpans], tally: Tally) -> None:
        for resource_spans in resources:
            self._resource(resource_spans, tally)
            for scope_spans in resource_spans.scope_spans:
                self._scope(scope_spans, tally)
                for span in scope_spans.spans:
                    if not self._is_clear(span):
                        self._span(span, tally)

    def _logs(self, resources: Sequence[ResourceLogs], tally: Tally) -> None:
        for resource_logs in resources:
            self._resource(resource_logs, tally)
            for scope_logs in resource_logs.scope_logs:
                self._scope(scope_logs, tally)
                for record in scope_logs.log_records:
                    if not self._is_clear(record):
                        self._record(record, tally)

    def _is_clear(self, message: Message) -> bool:
        """Return whether one scan of the message's bytes shows that there is nothing in it to mask.

        What stands beside a text in the bytes is not what stands beside it in the message, so hints ignore neighbours.
        """
        return self._hints is not None and self._hints.search(message.SerializeToString()) is None

    def _resource(self, parent: ResourceSpans | ResourceLogs, tally: Tally) -> None:
        self._texts(parent, tally)
        if not self._is_clear(parent.resource):
            self._attributes(parent.resource.attributes, tally)
            for reference in getattr(parent.resource, "entity_refs", ()):  # unknown to older opentelemetry-proto
                self._texts(reference, tally)

    def _scope(self, parent: ScopeSpans | ScopeLogs, tally: Tally) -> None:
        self._texts(parent, tally)
        if not self._is_clear(parent.scope):
            self._texts(parent.scope, tally)
            self._attributes(parent.scope.attributes, tally)

    def _span(self, span: Span, tally: Tally) -> None:
        self._texts(span, tally)
        self._texts(span.status, tally)
        self._attributes(span.attributes, tally)
        for event in span.events:
            self._texts(event, tally)
            self._attributes(event.attributes, tally)
        for link in span.links:
            self._texts(link, tally)
            self._attributes(link.attributes, tally)

    def _record(self, record: LogRecord, tally: Tally) -> None:
        self._texts(record, tally)
        self._attributes(record.attributes, tally)
        if record.body.HasField("kvlist_value"):
            actions = self._listed(record.body.kvlist_value.values, tally)
        else:
            actions = [("body", self._value(record.body, Verdict.READ, tally))]
        self._summarize(actions, record.attributes, "redaction.body.")

    def _texts(self, message: Message, tally: Tally) -> None:
        """Redact every string that a message holds itself, not in a message inside it."""
        for descriptor, value in message.ListFields():
            if descriptor.type != FieldDescriptor.TYPE_STRING:
                continue
            if isinstance(value, str):
                setattr(message, descriptor.name, self._text(value, tally))
            else:
                value[:] = [self._text(text, tally) for text in value]

    def _text(self, text: str, tally: Tally) -> str:
        try:
            return self._rules.redact(text, tally)
        except Exception:  # noqa: BLE001  whatever went wrong, the text must not stay
            tally.add("error")
            return MASK

    def _attributes(self, attributes: MutableSequence[KeyValue], tally: Tally) -> None:
        self._summarize(self._listed(attributes, tally), attributes, "redaction.")

    def _listed(self, attributes: MutableSequence[KeyValue], tally: Tally) -> list[tuple[str, Actions]]:
        """Redact a list of attributes that `allowed_keys` is about; return what was done to which key."""
        actions: list[tuple[str, Actions]] = []
        kept: list[KeyValue] = []
        for attribute in attributes:
            verdict = self._keys.listed(attribute.key)
            if verdict is Verdict.REMOVE:
                tally.add("allowed_keys")
                actions.append((self._rules.redact_key(attribute.key, tally), ("redacted",)))
            else:
                kept.append(attribute)
                done = self._entry(attribute, verdict, tally)
                actions.append((attribute.key, done))
        if len(kept) < len(attributes):
            del attributes[:]
            attributes.extend(kept)
        return actions

    def _entry(self, entry: KeyValue, verdict: Verdict, tally: Tally) -> Actions:
        actions = self._value(entry.value, verdict, tally)
        if verdict is not Verdict.IGNORE:
            key = self._rules.redact_key(entry.key, tally)
            if key != entry.key:
                entry.key = key
        return actions

    def _value(self, value: AnyValue, verdict: Verdict, tally: Tally) -> Actions:
        """Apply to a value the verdict on its key, and return what was done."""
        if verdict is Verdict.IGNORE:
            return ("ignored",)
        masks, allowed = tally.masks, tally.allowed
        try:
            if verdict is Verdict.MASK:
                self._mask(value, tally)
            elif verdict is Verdict.SUMMARY and value.HasField("string_value"):
                value.string_value = self._rules.redact_key(value.string_value, tally)
            elif verdict is not Verdict.SUMMARY or not value.HasField("int_value"):
                self._read(value, tally)
        except Exception:  # noqa: BLE001  whatever went wrong, the value must not stay
            value.string_value = MASK
            tally.add("error")
        if tally.allowed > allowed:
            return ("masked", "allowed") if tally.masks > masks else ("allowed",)
        return ("masked",) if tally.masks > masks else ()

    def _mask(self, value: AnyValue, tally: Tally) -> None:
        text = value.string_value if value.HasField("string_value") else json.dumps(to_python(value), default=repr)
        masked = self._rules.mask(text, "blocked_key_patterns", tally)
        if masked != text:
            value.string_value = masked

    def _read(self, value: AnyValue, tally: Tally) -> None:
        kind = value.WhichOneof("value")
        if kind == "string_value":
            text = value.string_value
            redacted = self._rules.redact(text, tally)
            if redacted != text:
                value.string_value = redacted
        elif kind == "array_value":
            for item in value.array_value.values:
                self._read(item, tally)
        elif kind == "kvlist_value":
            for entry in value.kvlist_value.values:
                self._entry(entry, self._keys.nested(entry.key), tally)
        elif kind == "bytes_value":
            self._read_bytes(value, tally)
        elif self._all_types and kind in _SCALARS:
            text = str(getattr(value, kind)).lower() if kind == "bool_value" else str(getattr(value, kind))
            redacted = self._rules.redact(text, tally)
            if redacted != text:
                value.string_value = redacted

    def _read_bytes(self, value: AnyValue, tally: Tally) -> None:
        try:
            encoding, text = "utf-8", value.bytes_value.decode()
        except UnicodeDecodeError:
            encoding, text = "latin-1", value.bytes_value.decode("latin-1")
        redacted = self._rules.redact(text, tally)
        if redacted != text:
            value.bytes_value = redacted.encode(encoding)

    def _summarize(
        self, actions: list[tuple[str, Actions]], attributes: MutableSequence[KeyValue], prefix: str
    ) -> None:
        """Write contrib's summary; what is masked or removed adds up over processors in a row, the rest does not."""
        if not self._summarizes:
            return
        for action in ("redacted", "masked", "allowed", "ignored"):
            keys = [key for key, done in actions if action in done]
            if not keys:
                continue
            adds_up = action in ("redacted", "masked")
            count = find(attributes, f"{prefix}{action}.count") if adds_up else None
            put(attributes, f"{prefix}{action}.count", len(keys) + (count.int_value if count else 0))
            if self._names_keys and action != "ignored":
                names = find(attributes, f"{prefix}{action}.keys") if adds_up else None
                earlier = names.string_value.split(",") if names and names.string_value else []
                put(attributes, f"{prefix}{action}.keys", ",".join(sorted(keys + earlier)))
