"""The processor: schemas applied to traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import re2

from spanbridge.processors.attributes import Value
from spanbridge.processors.patterns import compiled
from spanbridge.processors.tag_schema.computed import COMPUTED
from spanbridge.processors.tag_schema.config import (
    VIOLATIONS_TAG,
    SchemaConfig,
    SourceConfig,
    TagConfig,
    TagSchemaConfig,
)
from spanbridge.processors.tag_schema.values import as_text, written
from spanbridge.processors.tag_schema.view import TraceView
from spanbridge.processors.types import Trace

OnViolation: TypeAlias = Callable[[str, str], None]
Look: TypeAlias = Callable[[TraceView, Mapping[str, str]], Value]

_EXPLICIT = "mlflow.traceTag."


class TagSchema:
    """The processor: writes `trace.tags` by the schema whose conditions the trace meets.

    Args:
        config: The processor's configuration.
        environ: The environment's variables, read once.
        on_violation: Is told the tag and the rule of each violation.
    """

    def __init__(
        self, config: TagSchemaConfig, environ: Mapping[str, str], on_violation: OnViolation | None = None
    ) -> None:
        self._schemas = [Schema(schema, environ) for schema in config.in_order]
        self._on_violation = on_violation

    def __call__(self, trace: Trace) -> Trace | None:
        """Write the tags and return the trace, or None if a violation drops it."""
        view = TraceView(trace)
        schema = next((schema for schema in self._schemas if schema.takes(view)), None)
        if schema is None:
            return trace
        violations = schema.apply(trace, view)
        if self._on_violation:
            for tag, rule in violations:
                self._on_violation(tag.name, rule)
        dropped = not trace.late and any(tag.action == "drop_trace" for tag, _ in violations)
        return None if dropped else trace


class Schema:
    """One schema, ready to be applied."""

    def __init__(self, config: SchemaConfig, environ: Mapping[str, str]) -> None:
        self._tags = [Tag(name, tag, config, environ) for name, tag in config.all_tags.items()]
        self._when = [(key, _glob(globs)) for key, globs in config.when.items()]
        self._lists_all = bool(config.violations_tag)
        self._list = config.violations_tag or VIOLATIONS_TAG

    def takes(self, view: TraceView) -> bool:
        """Return whether the trace's resource meets the schema's conditions."""
        found = ((pattern, view.resource(key)) for key, pattern in self._when)
        return all(value is not None and pattern.fullmatch(as_text(value)) for pattern, value in found)

    def apply(self, trace: Trace, view: TraceView) -> list[tuple[Tag, str]]:
        """Write the tags and return every violation, as a tag and the rule it breaks."""
        violations = [(tag, rule) for tag in self._tags for rule in tag.settle(trace, view)]
        listed = [f"{tag.name}:{rule}" for tag, rule in violations if self._lists_all or tag.action == "tag"]
        if listed:
            earlier = filter(None, trace.tags.get(self._list, "").split(","))
            trace.tags[self._list] = ",".join(dict.fromkeys([*earlier, *listed]))
        return violations


class Tag:
    """One tag of a schema, ready to be settled."""

    def __init__(self, name: str, config: TagConfig, schema: SchemaConfig, environ: Mapping[str, str]) -> None:
        self.name = name
        self.action = config.on_violation or schema.on_violation
        self._type, self._required = config.type, config.required
        self._broken_rule = config.checker()
        self._default = None if config.default is None else written(config.type, config.default)
        self._aliases = config.aliases
        names = (name, *config.aliases)
        self._root_keys = [*(_EXPLICIT + each for each in names), *names]
        self._looks = [_look(source, environ) for source in config.from_]
        self._looks_late = [_look(source, environ) for source in config.from_ if source.root]

    def settle(self, trace: Trace, view: TraceView) -> list[str]:
        """Write the tag, or remove it if it can have no value; return the rules broken on the way."""
        broken: list[str] = []
        for value in self._given(trace, view):
            if value is None or value == "":
                continue
            text = written(self._type, value)
            if text == "":
                continue
            rule = self._broken_rule(text)
            if rule and rule not in broken:
                broken.append(rule)
            if not rule or self.action in ("keep", "tag"):
                trace.tags[self.name] = as_text(value) if text is None else text
                return broken
        trace.tags.pop(self.name, None)
        if trace.late:
            return broken
        if self._default is not None:
            trace.tags[self.name] = self._default
        elif self._required:
            broken.append("required")
        return broken

    def _given(self, trace: Trace, view: TraceView) -> Iterator[Value]:
        aliased = [trace.tags.pop(alias, None) for alias in self._aliases] if self._aliases else ()
        yield trace.tags.get(self.name)
        yield from aliased
        if trace.late and not view.has_root:
            return
        given = view.given
        for key in self._root_keys:
            if key in given:
                yield view.root(key)
        for look in self._looks_late if trace.late else self._looks:
            yield look(view, trace.tags)


def _look(source: SourceConfig, environ: Mapping[str, str]) -> Look:
    key = source.root or source.span or source.resource or source.metadata
    if source.root:
        return lambda view, _: view.root(key)
    if source.span:
        return lambda view, _: view.span(key)
    if source.resource:
        return lambda view, _: view.resource(key)
    if source.metadata:
        return lambda view, _: view.metadata.get(key)
    if source.computed:
        return COMPUTED[source.computed]
    constant = environ.get(source.env) if source.env else source.constant
    return lambda _view, _tags: constant


def _glob(globs: str | list[str]) -> Any:
    """Return a pattern for one glob or several; `*` stands for any text, `?` for any character."""
    alternatives = [globs] if isinstance(globs, str) else globs
    escaped = (re2.escape(glob).replace(r"\*", ".*").replace(r"\?", ".") for glob in alternatives)
    return compiled("(?s)" + "|".join(f"(?:{pattern})" for pattern in escaped))
