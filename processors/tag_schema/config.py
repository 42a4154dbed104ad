"""The configuration of `tag_schema`. All that can be checked before a trace has come is checked here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, field_validator, model_validator

from spanbridge.processors.patterns import Pattern, compiled
from spanbridge.processors.settings import ConfigModel
from spanbridge.processors.tag_schema.computed import COMPUTED
from spanbridge.processors.tag_schema.values import Type, written

Scalar: TypeAlias = bool | int | float | str | list[bool | int | float | str]
Action: TypeAlias = Literal["keep", "tag", "drop_tag", "drop_trace"]

VIOLATIONS_TAG = "schema.violations"
_TAG_NAME = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_\-. :/]{0,249}"
)  # mlflow/utils/validation.py, as OTLP ingestion applies it


class SourceConfig(ConfigModel):
    """One place to look for a value; exactly one of the keys is given."""

    root: str = Field(default="", description="The key of an attribute of the root span.")
    span: str = Field(
        default="", description="The key of an attribute of any span; the root's counts before another's."
    )
    resource: str = Field(
        default="", description="The key of a resource attribute; that of the root's resource counts first."
    )
    metadata: str = Field(default="", description="The key of trace metadata that an earlier processor set.")
    env: str = Field(default="", description="The name of an environment variable of spanbridge.")
    constant: Scalar | None = Field(default=None, description="The value itself.")
    computed: str = Field(default="", description=f"What to compute from the whole trace: {', '.join(COMPUTED)}.")

    @field_validator("computed")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name and name not in COMPUTED:
            raise ValueError(f"{name!r} can't be computed; there are {', '.join(COMPUTED)}")
        return name

    @model_validator(mode="after")
    def _names_one_place(self) -> SourceConfig:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"a source is one of {', '.join(type(self).model_fields)}, for example `root: user.id`")
        return self


class TagConfig(ConfigModel):
    """One tag: where its value comes from and what it must be."""

    type: Type = Field(
        default="str",
        description="What the value must be. Tags are texts in MLflow: `3`, `0.5`, `true`; a csv is `a,b`.",
    )
    from_: tuple[SourceConfig, ...] = Field(
        default=(),
        alias="from",
        description="Where to look for a value, in order. What the application gives under the tag's name or an alias "
        "counts before.",
    )
    aliases: tuple[str, ...] = Field(
        default=(), description="Other names under which the application may give the tag."
    )
    default: Scalar | None = Field(
        default=None, description="The value if no source has one. Default: the tag is not written."
    )
    required: bool = Field(default=False, description="Whether it is a violation if there is no value and no default.")
    allowed: tuple[Scalar, ...] = Field(
        default=(), description="The values that are allowed, of a csv for each item. Default: any."
    )
    pattern: Pattern | None = Field(
        default=None, description="An RE2 expression that the whole value must match, of a csv each item."
    )
    on_violation: Action | None = Field(
        default=None, description="What a violation of this tag does. Default: as the schema's on_violation says."
    )

    def checker(self) -> Callable[[str | None], str]:
        """Return a check of a value, written as its type says, for the rule it breaks.

        The check returns `type`, `allowed`, `pattern`, or an empty text if the value breaks none.
        """
        allowed = {written(self.type, value) for value in self.allowed}
        pattern = None if self.pattern is None else compiled(self.pattern)

        def broken_rule(text: str | None) -> str:
            if text is None:
                return "type"
            if not allowed and pattern is None:
                return ""
            parts = text.split(",") if self.type == "csv" else [text]
            if allowed and not allowed.issuperset(parts):
                return "allowed"
            return "" if pattern is None or all(pattern.fullmatch(part) for part in parts) else "pattern"

        return broken_rule

    @model_validator(mode="after")
    def _holds_to_itself(self) -> TagConfig:
        for value in self.allowed:
            if written(self.type, value) is None:
                raise ValueError(f"allowed value {value!r} is no {self.type}; write it as one or change the type")
        broken_rule = self.checker()
        fixed = [("default", self.default), *(("constant", source.constant) for source in self.from_)]
        for what, constant in fixed:
            rule = "" if constant is None else broken_rule(written(self.type, constant))
            if rule:
                raise ValueError(f"{what} {constant!r} breaks the tag's own `{rule}`; change one of them")
        return self


class SchemaConfig(ConfigModel):
    """A set of tags, and the traces that it is for."""

    name: str = Field(default="", description="A name for messages.")
    extends: Literal["standard"] | None = Field(
        default=None,
        description="Take over the tags of the standard schema; a tag of the same name replaces the standard one.",
    )
    when: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description="Resource attributes that must match, each with a glob or a list of globs. Default: every trace.",
    )
    tags: dict[str, TagConfig] = Field(default_factory=dict, description="The tags by their names.")
    on_violation: Action = Field(
        default="keep",
        description="What a violation does: `keep` keeps the value; `tag` keeps it and lists it as `tag:rule` in the "
        f"tag {VIOLATIONS_TAG}; `drop_tag` passes it over for the next source; `drop_trace` drops the trace.",
    )
    violations_tag: str = Field(
        default="",
        description="The tag that lists every violation, whatever it does. "
        f"Default: none, and {VIOLATIONS_TAG} for the action `tag`.",
    )

    @property
    def all_tags(self) -> dict[str, TagConfig]:
        """The tags, with those of the schema that is extended; a tag of the same name replaces the other."""
        return {**STANDARD.tags, **self.tags} if self.extends else self.tags

    @model_validator(mode="after")
    def _names_are_unlike(self) -> SchemaConfig:
        if not self.all_tags:
            raise ValueError("a schema without tags does nothing; give it `tags` or `extends: standard`")
        taken = {self.violations_tag or VIOLATIONS_TAG: "the list of violations"}
        for name, use in self._uses():
            if not _TAG_NAME.fullmatch(name) or name.startswith("mlflow."):
                raise ValueError(f"{name!r} is no tag name; use letters, digits and _-. :/ and not the prefix mlflow.")
            if name in taken:
                raise ValueError(f"{name!r} is both {taken[name]} and {use}; rename one")
            taken[name] = use
        return self

    def _uses(self) -> Iterator[tuple[str, str]]:
        for name, tag in self.all_tags.items():
            yield name, f"the tag {name}"
            for alias in tag.aliases:
                yield alias, f"an alias of {name}"


def _schema(value: Any) -> Any:
    if isinstance(value, str):
        if value != "standard":
            raise ValueError(f"there is no schema {value!r}; write `standard`, or declare tags of your own")
        return STANDARD
    return value


class TagSchemaConfig(ConfigModel):
    """The schemas of tags that traces are given."""

    default_schema: Annotated[
        SchemaConfig | None, BeforeValidator(_schema, json_schema_input_type=Literal["standard"] | SchemaConfig | None)
    ] = Field(
        default=None,
        alias="schema",
        description="The schema of traces that none of `schemas` matches: `standard` or a section of its own. "
        "Default: `standard`, or none if `schemas` is given.",
    )
    schemas: tuple[SchemaConfig, ...] = Field(
        default=(), description="Schemas with conditions; the first whose `when` matches a trace's resource is applied."
    )

    @property
    def in_order(self) -> tuple[SchemaConfig, ...]:
        """Every schema, in the order in which they are tried."""
        last = self.default_schema or (None if self.schemas else STANDARD)
        return (*self.schemas, last) if last else self.schemas

    @model_validator(mode="after")
    def _each_is_reached(self) -> TagSchemaConfig:
        for place, (schema, following) in enumerate(zip(self.in_order, self.in_order[1:], strict=False)):
            if not schema.when:
                raise ValueError(
                    f"schemas.{place} takes every trace, so {following.name or 'what follows'} is never reached; "
                    "give it a `when` or put it last"
                )
        return self


STANDARD = SchemaConfig.model_validate(
    {
        "name": "standard",
        "tags": {
            "user_id": {
                "required": True,
                "from": [
                    {"root": "user.id"},
                    {"metadata": "mlflow.trace.user"},
                    {"root": "enduser.id"},
                    {"span": "user.id"},
                    {"resource": "user.id"},
                ],
            },
            "session_id": {
                "required": True,
                "default": "none",
                "from": [
                    {"root": "session.id"},
                    {"metadata": "mlflow.trace.session"},
                    {"root": "gen_ai.conversation.id"},
                    {"span": "session.id"},
                    {"span": "gen_ai.conversation.id"},
                    {"resource": "session.id"},
                ],
            },
            "environment": {
                "required": True,
                "default": "dev",
                "from": [
                    {"resource": "deployment.environment.name"},
                    {"resource": "deployment.environment"},
                    {"resource": "environment"},
                ],
            },
            "domains": {"type": "csv"},
            "domain_count": {"type": "int", "from": [{"computed": "domain_count"}]},
            "confidence": {"type": "float"},
            "is_multi_domain": {"type": "bool", "from": [{"computed": "is_multi_domain"}]},
            "utility_tools_used": {"type": "csv", "from": [{"computed": "utility_tools_used"}]},
            "source_count": {"type": "int", "from": [{"computed": "source_count"}]},
            "response_length": {"type": "int", "from": [{"computed": "response_length"}]},
            "has_error": {"type": "bool", "from": [{"computed": "has_error"}]},
            "error_type": {"from": [{"computed": "error_type"}]},
        },
    }
)
"""The tags every team's traces carry."""
