"""Steps 1 to 3 from YAML to running code, in their order: a `Config`, or one `ConfigError` with all that is wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

from spanbridge.collector.config import sources as config_sources
from spanbridge.collector.config.components import KINDS, Kind, component_of
from spanbridge.collector.config.pipelines import PipelineConfig, Wiring, Written, wire
from spanbridge.collector.config.service import PipelineSection, ServiceConfig
from spanbridge.collector.config.substitution import Path, Substitution, show
from spanbridge.collector.config.validation import Model, build, departures, suggestion
from spanbridge.collector.errors import ConfigError
from spanbridge.processors.settings import ConfigModel

_SECTIONS = (*(f"{kind}s" for kind in KINDS), "connectors", "service")

Models: TypeAlias = Mapping[str, ConfigModel]


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration: component models by id as it is written, and the pipelines they form.

    `warnings` are sentences that begin with the path, to be shown at start.
    """

    receivers: Models
    processors: Models
    exporters: Models
    extensions: Models
    pipelines: Mapping[str, PipelineConfig]
    service: ServiceConfig
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Draft:
    """The tree on its way to a `Config`, and what was found in it so far."""

    tree: Mapping[str, Any]
    texts: Mapping[Path, str]
    env: Mapping[str, str]
    problems: list[str]
    warnings: list[str] = field(default_factory=list)


def load(sources: Sequence[str], overrides: Sequence[str] = (), *, env: Mapping[str, str]) -> Config:
    """Read, merge and check the configuration. Nothing is opened but the sources.

    Args:
        sources: where it is, as `config.sources` says.
        overrides: single values, as `config.sources.merged` says.
        env: the environment: for references to it, and for the defaults that the `mlflow` exporter takes from it.

    Raises:
        ConfigError: every problem there is. A source that can't be read is told alone.
    """
    try:
        draft = _draft(config_sources.merged(sources, overrides, env), env)
    except RecursionError:
        raise ConfigError(["the YAML is nested too deeply, or an alias in it contains itself"]) from None
    _check_sections(draft)
    models = {kind: _components(kind, draft) for kind in KINDS}
    service = _service(draft)
    wiring = wire(Written(models, *_parts(service, draft)))
    draft.problems += wiring.problems
    draft.warnings += wiring.warnings
    if draft.problems or service is None:
        raise ConfigError(draft.problems)
    return _config(models, service, wiring, draft.warnings)


def _draft(tree: Mapping[str, Any], env: Mapping[str, str]) -> _Draft:
    substitution = Substitution(env)
    expanded = substitution.expand(tree)
    return _Draft(expanded, substitution.texts, env, substitution.problems, substitution.warnings)


def _check_sections(draft: _Draft) -> None:
    if not draft.tree:
        draft.problems.append("the configuration is empty; it needs receivers, exporters and service")
    for key, value in draft.tree.items():
        if key not in _SECTIONS:
            draft.problems.append(f"{key}: unknown section; {suggestion(key, _SECTIONS)}")
        elif value is not None and not isinstance(value, dict):
            draft.problems.append(f"{key}: must be a mapping of keys to values")
    if draft.tree.get("connectors"):
        draft.problems.append("connectors: there are none; let one receiver feed several pipelines instead")


def _section(draft: _Draft, key: str) -> dict[str, Any]:
    section = draft.tree.get(key)
    return section if isinstance(section, dict) else {}


def _components(kind: Kind, draft: _Draft) -> dict[str, ConfigModel | None]:
    """The models of one kind by id; None for one that was written but is wrong, so that references to it are right."""
    models: dict[str, ConfigModel | None] = {}
    for component_id, data in _section(draft, f"{kind}s").items():
        try:
            model = _component(kind, component_id, data, draft)
        except ConfigError as error:
            draft.problems += error.problems
            models[component_id] = None
        else:
            draft.warnings += departures(model, (f"{kind}s", component_id))
            models[component_id] = model
    return models


def _component(kind: Kind, component_id: str, data: Any, draft: _Draft) -> ConfigModel:
    path = (f"{kind}s", component_id)
    try:
        model = component_of(kind, component_id).config
    except ValueError as error:
        raise ConfigError([f"{show(path)}: {error}"]) from None
    with_environment = getattr(model, "with_environment", None)
    if with_environment and isinstance(data, (dict, type(None))):
        data = with_environment(data or {}, draft.env)
    return build(model, data, path, draft.texts)


def _service(draft: _Draft) -> ServiceConfig | None:
    try:
        service = build(ServiceConfig, _section(draft, "service"), ("service",), draft.texts)
    except ConfigError as error:
        draft.problems += error.problems
        return None
    draft.warnings += departures(service, ("service",))
    return service


def _parts(
    service: ServiceConfig | None, draft: _Draft
) -> tuple[Sequence[str] | None, Mapping[str, PipelineSection | None]]:
    """Extensions and pipelines of the service; of a service that is wrong, what of them is right."""
    if service is not None:
        return service.extensions, service.pipelines
    section = _section(draft, "service")
    extensions = _attempt(ServiceConfig, {"extensions": section.get("extensions")}, ("service",), draft)
    pipelines = section.get("pipelines")
    pipelines = pipelines if isinstance(pipelines, dict) else {}
    return extensions.extensions if extensions else None, {
        id_: _attempt(PipelineSection, data, ("service", "pipelines", id_), draft) for id_, data in pipelines.items()
    }


def _attempt(model: type[Model], data: Any, path: Path, draft: _Draft) -> Model | None:
    with contextlib.suppress(ConfigError):
        return build(model, data, path, draft.texts)
    return None


def _config(
    models: Mapping[Kind, Mapping[str, ConfigModel | None]],
    service: ServiceConfig,
    wiring: Wiring,
    warnings: Sequence[str],
) -> Config:
    checked = {
        kind: MappingProxyType({id_: model for id_, model in found.items() if model is not None})
        for kind, found in models.items()
    }
    return Config(
        receivers=checked["receiver"],
        processors=MappingProxyType(checked["processor"] | wiring.added),
        exporters=checked["exporter"],
        extensions=checked["extension"],
        pipelines=MappingProxyType(wiring.pipelines),
        service=service,
        warnings=tuple(warnings),
    )
