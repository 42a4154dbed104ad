"""Step 2 from YAML to running code: every component there is, in one table, and which one an id means.

A component is one folder or file, and one row here. The row names its config model and its builder, which are imported
when they are asked for: a configuration does not pay for what it does not use, and to check one needs no builder. What
the builder of each kind is given and returns is said in

- `spanbridge.collector.receivers` for receivers,
- `spanbridge.processors.stages` for processors (`spanbridge.collector.flow.processors.stages` for those that steer),
- `spanbridge.collector.exporters` for exporters,
- `spanbridge.collector.extensions` for extensions.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import yaml

from spanbridge.collector.config.validation import suggestion
from spanbridge.processors.settings import ConfigModel

Kind: TypeAlias = Literal["receiver", "processor", "exporter", "extension"]
Model: TypeAlias = type[ConfigModel]
KINDS: tuple[Kind, ...] = get_args(Kind)

Role: TypeAlias = Literal["authenticator", "storage", "server", "assembler", "redactor", "whole traces"]
"""What others count on a component for, known before it is built.

Extensions: an authenticator lets clients in, a storage keeps journals, a server runs by itself while the program does.
Processors: an assembler puts traces together, a redactor is run on the log records of its traces too. Exporters: one of
whole traces gets an assembler, should its pipeline have none.
"""

_TYPE = re.compile(r"[a-zA-Z][0-9a-zA-Z_]{0,62}")


@dataclass(frozen=True, slots=True)
class Component:
    """One row. `model` and `builder` are "module:name"; `aliases` are other names it has or had in the Collector."""

    kind: Kind
    type: str
    model: str
    builder: str
    description: str
    aliases: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()

    @property
    def config(self) -> Model:
        """The config model."""
        return _named(self.model)  # type: ignore[no-any-return]  # the table names models

    @property
    def build(self) -> Any:
        """The builder; its signature is that of the kind."""
        return _named(self.builder)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name it may have in a configuration."""
        return (self.type, *self.aliases)


def _named(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


COMPONENTS = (
    Component(
        "receiver",
        "otlp",
        "spanbridge.collector.receivers.otlp.config:OtlpReceiverConfig",
        "spanbridge.collector.receivers.otlp.build:build",
        "Takes OTLP over gRPC and HTTP.",
    ),
    Component(
        "processor",
        "memory_limiter",
        "spanbridge.collector.flow.processors.memory_limiter:MemoryLimiterConfig",
        "spanbridge.collector.flow.processors.memory_limiter:build",
        "Asks senders to wait while memory is short.",
    ),
    Component(
        "processor",
        "batch",
        "spanbridge.collector.flow.processors.batch:BatchConfig",
        "spanbridge.collector.flow.processors.batch:build",
        "Says how many spans go into one delivery.",
    ),
    Component(
        "processor",
        "groupbytrace",
        "spanbridge.collector.flow.processors.groupbytrace:GroupByTraceConfig",
        "spanbridge.collector.flow.processors.groupbytrace:build",
        "Puts the spans of a trace together.",
        roles=("assembler",),
    ),
    Component(
        "processor",
        "genai",
        "spanbridge.processors.genai.config:GenAiConfig",
        "spanbridge.processors.genai.build:build",
        "Makes every GenAI convention read alike.",
        aliases=("gen_ai_normalizer",),
    ),
    Component(
        "processor",
        "redaction",
        "spanbridge.processors.redaction.config:RedactionConfig",
        "spanbridge.processors.redaction.build:build",
        "Masks secrets before the disk has them.",
        roles=("redactor",),
    ),
    Component(
        "processor",
        "probabilistic_sampler",
        "spanbridge.processors.probabilistic_sampler:ProbabilisticSamplerConfig",
        "spanbridge.processors.probabilistic_sampler:build",
        "Keeps a share of the traces, by id.",
    ),
    Component(
        "processor",
        "tail_sampling",
        "spanbridge.processors.tail_sampling.config:TailSamplingConfig",
        "spanbridge.collector.flow.processors.tail_sampling:build",
        "Keeps or drops whole traces by policies.",
        roles=("assembler",),
    ),
    Component(
        "processor",
        "tag_schema",
        "spanbridge.processors.tag_schema.config:TagSchemaConfig",
        "spanbridge.processors.tag_schema.build:build",
        "Gives every trace the same tags, typed and checked.",
    ),
    Component(
        "processor",
        "span_metrics",
        "spanbridge.processors.span_metrics:SpanMetricsConfig",
        "spanbridge.processors.span_metrics:build",
        "Counts all spans, before any sampling.",
        aliases=("spanmetrics",),
    ),
    Component(
        "exporter",
        "mlflow",
        "spanbridge.collector.exporters.mlflow.config:MlflowExporterConfig",
        "spanbridge.collector.exporters.mlflow.build:build",
        "Writes whole traces to MLflow.",
        roles=("whole traces",),
    ),
    Component(
        "exporter",
        "otlp_grpc",
        "spanbridge.collector.exporters.otlp.config:OtlpGrpcExporterConfig",
        "spanbridge.collector.exporters.otlp.build:build_grpc",
        "Hands traces on over OTLP/gRPC.",
        aliases=("otlp",),
    ),
    Component(
        "exporter",
        "otlp_http",
        "spanbridge.collector.exporters.otlp.config:OtlpHttpExporterConfig",
        "spanbridge.collector.exporters.otlp.build:build_http",
        "Hands traces on over OTLP/HTTP.",
        aliases=("otlphttp",),
    ),
    Component(
        "exporter",
        "debug",
        "spanbridge.collector.exporters.debug:DebugExporterConfig",
        "spanbridge.collector.exporters.debug:build",
        "Writes what arrives to the log.",
        aliases=("logging",),
    ),
    Component(
        "extension",
        "file_storage",
        "spanbridge.collector.extensions.file_storage.config:FileStorageConfig",
        "spanbridge.collector.extensions.file_storage.build:build",
        "The directory of the journals.",
        roles=("storage",),
    ),
    Component(
        "extension",
        "health_check",
        "spanbridge.collector.extensions.health_check.config:HealthCheckConfig",
        "spanbridge.collector.extensions.health_check.build:build",
        "Answers liveness probes.",
        aliases=("healthcheckv2",),
        roles=("server",),
    ),
    Component(
        "extension",
        "bearertokenauth",
        "spanbridge.collector.extensions.authentication.bearer_token:BearerTokenAuthConfig",
        "spanbridge.collector.extensions.authentication.bearer_token:build",
        "Lets in who shows a token, and binds tokens to experiments.",
        roles=("authenticator",),
    ),
    Component(
        "extension",
        "basicauth",
        "spanbridge.collector.extensions.authentication.basic_auth:BasicAuthConfig",
        "spanbridge.collector.extensions.authentication.basic_auth:build",
        "Lets in users by their passwords (htpasswd, bcrypt).",
        roles=("authenticator",),
    ),
)


class ComponentId(NamedTuple):
    """A component id, `type/name` in the YAML: its type with aliases resolved, and its name, mostly empty."""

    type: str
    name: str


def component_of(kind: Kind, component_id: str) -> Component:
    """Return the component that an id like "otlp" or "otlp/2" stands for.

    Raises:
        ValueError: it is no id, or there is no such component.
    """
    written, slash, name = (part.strip() for part in component_id.partition("/"))
    if not _TYPE.fullmatch(written) or (slash and not name):
        raise ValueError('is no component id; write a type or "type/name"')
    by_name = {name: component for component in COMPONENTS if component.kind == kind for name in component.names}
    if written not in by_name:
        raise ValueError(f'unknown {kind} type "{written}"; {suggestion(written, by_name)}')
    return by_name[written]


def split_id(kind: Kind, component_id: str) -> ComponentId:
    """Return type and name of an id, with aliases resolved: exporter "otlphttp/x" is ("otlp_http", "x").

    Raises:
        ValueError: it is no id, or there is no such component.
    """
    return ComponentId(component_of(kind, component_id).type, component_id.partition("/")[2].strip())


def has_role(kind: Kind, component_id: str, role: Role) -> bool:
    """Return whether the component of an id plays a role; False for what is no component."""
    try:
        return role in component_of(kind, component_id).roles
    except ValueError:
        return False


def types_in_role(role: Role) -> tuple[str, ...]:
    """Return the types of all components that play a role, in the order of the table."""
    return tuple(component.type for component in COMPONENTS if role in component.roles)


def describe_components() -> str:
    """Return the table as YAML, by kind."""
    listing = {f"{kind}s": [_described(c) for c in COMPONENTS if c.kind == kind] for kind in KINDS}
    return yaml.safe_dump(listing, sort_keys=False, width=120)


def _described(component: Component) -> dict[str, str | list[str]]:
    row: dict[str, str | list[str]] = {"name": component.type}
    if component.aliases:
        row["aliases"] = list(component.aliases)
    return row | {"description": component.description}
