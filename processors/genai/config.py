"""Configuration of the genai processor, in the shape of contrib's gen_ai_normalizer.

Contrib (processor/genainormalizerprocessor/README.md) writes `sources` as a mapping by name, its proposal as a list
with `name`; both are read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from spanbridge.processors.genai.conventions import CONVENTIONS
from spanbridge.processors.settings import ConfigModel

CUSTOM = "custom"
_ALIASES = {
    "openllmetry": "traceloop",
    "pydanticai": "pydantic_ai",
    "gen_ai": "otel",
    "otelsemconv": "otel",
    "vercel": "vercel_ai",
    "microsoft_agent_framework": "agent_framework",
}
NAMES = frozenset(convention.name for convention in CONVENTIONS)


def _listed(sources: Any) -> Any:
    """Return a mapping of names to settings as a list of sections; a bare name becomes a section of its own."""
    if isinstance(sources, dict):
        return [{"name": name, **(settings or {})} for name, settings in sources.items()]
    if isinstance(sources, list):
        return [{"name": source} if isinstance(source, str) else source for source in sources]
    return sources


class SourceConfig(ConfigModel):
    """One convention to read."""

    name: str = Field(
        description="The convention, for example `openinference`; or `custom`, which has custom_mappings alone."
    )
    remove_originals: bool | None = Field(
        default=None,
        description="Drop the attributes of this convention that ended up in `mlflow.*` ones. "
        "Default: as the processor's `remove_originals` says.",
    )
    overwrite: bool | None = Field(
        default=None,
        description="Replace `mlflow.*` attributes that a span brings along by what this convention states. "
        "Default: as the processor's `overwrite` says.",
    )
    custom_mappings: dict[str, str] = Field(
        default_factory=dict,
        description="Attribute keys of your own, each with the key that its value is copied to and read under, "
        "for example `my.model: gen_ai.request.model` or `my.kind: mlflow.spanType`.",
    )

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        canonical = _ALIASES.get(name, name)
        if canonical not in NAMES and canonical != CUSTOM:
            known = ", ".join(sorted({*NAMES, *_ALIASES, CUSTOM}))
            raise ValueError(f"{name!r} is no convention this processor knows; it knows {known}")
        return canonical

    @field_validator("custom_mappings")
    @classmethod
    def _distinct(cls, mappings: dict[str, str]) -> dict[str, str]:
        for source, target in mappings.items():
            if not source or not target:
                raise ValueError("a mapping needs a source and a target key, neither empty")
            if source == target:
                raise ValueError(f"{source!r} is mapped to itself; give another target or leave it out")
        return mappings

    @model_validator(mode="after")
    def _custom_maps(self) -> SourceConfig:
        if self.name == CUSTOM and not self.custom_mappings:
            raise ValueError("source 'custom' does nothing without custom_mappings; add some or leave it out")
        return self


class GenAiConfig(ConfigModel):
    """The genai processor."""

    sources: Annotated[
        tuple[SourceConfig, ...],
        BeforeValidator(_listed, json_schema_input_type=list[str | SourceConfig] | dict[str, dict[str, Any] | None]),
    ] = Field(
        default=(),
        description="The conventions to read: a list of names or of sections with a `name`, or a mapping from names to "
        "sections. Default, and with none but `custom`: every convention.",
    )
    remove_originals: bool = Field(
        default=False,
        description="Drop the attributes that ended up in `mlflow.*` ones, where a source does not say otherwise.",
    )
    overwrite: bool = Field(
        default=False,
        description="Replace `mlflow.*` attributes that a span brings along, where a source does not say otherwise.",
    )

    @field_validator("sources")
    @classmethod
    def _once(cls, sources: tuple[SourceConfig, ...]) -> tuple[SourceConfig, ...]:
        names = [source.name for source in sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}; merge the entries")
        return sources

    def settings(self, names: Iterable[str]) -> dict[str, SourceConfig]:
        """Return the settings of each convention that is on, by name.

        Args:
            names: The names of all conventions.
        """
        given = {source.name: source for source in self.sources}
        wanted = [name for name in names if name in given] or list(names)
        return {name: self._resolved(given.get(name) or SourceConfig(name=name)) for name in wanted}

    def custom(self) -> list[tuple[str, str, SourceConfig]]:
        """Return the custom mappings in order, each as source key, target key and the settings of its source."""
        resolved = [self._resolved(source) for source in self.sources]
        return [(key, target, source) for source in resolved for key, target in source.custom_mappings.items()]

    def _resolved(self, source: SourceConfig) -> SourceConfig:
        remove = self.remove_originals if source.remove_originals is None else source.remove_originals
        overwrite = self.overwrite if source.overwrite is None else source.overwrite
        return source.model_copy(update={"remove_originals": remove, "overwrite": overwrite})
