"""Every component there is, in one table. A new one is one line here: kind, type, config model and what it is."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import yaml

from spanbridge.collector.config.validation import suggestion
from spanbridge.processors.settings import ConfigModel

Kind: TypeAlias = Literal["receiver", "processor", "exporter", "extension"]
Model: TypeAlias = type[ConfigModel]
KINDS: tuple[Kind, ...] = get_args(Kind)

_TYPE = re.compile(r"[a-zA-Z][0-9a-zA-Z_]{0,62}")


@dataclass(frozen=True, slots=True)
class Component:
    """One row: `aliases` are the names it has or had in the Collector besides `type`.

    `model` is "module:class" of the config model, imported when it is asked for: a sidecar that does not redact need
    not hold the patterns of redaction in memory.
    """

    kind: Kind
    type: str
    model: str
    description: str
    aliases: tuple[str, ...] = ()

    @property
    def config(self) -> Model:
        """The config model."""
        module, _, name = self.model.partition(":")
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]  # the table names models

    @property
    def names(self) -> tuple[str, ...]:
        """Every name it may have in a configuration."""
        return (self.type, *self.aliases)


COMPONENTS = (
    Component(
        "receiver",
        "otlp",
        "spanbridge.collector.receivers.otlp.config:OtlpReceiverConfig",
        "Takes OTLP over gRPC and HTTP.",
    ),
    Component(
        "processor",
        "memory_limiter",
        "spanbridge.collector.flow.processors.batch:MemoryLimiterConfig",
        "Asks senders to wait while memory is short.",
    ),
    Component(
        "processor",
        "batch",
        "spanbridge.collector.flow.processors.batch:BatchConfig",
        "Says how many spans go into one delivery.",
    ),
    Component(
        "processor",
        "groupbytrace",
        "spanbridge.collector.flow.processors.batch:GroupByTraceConfig",
        "Puts the spans of a trace together.",
    ),
    Component(
        "processor",
        "genai",
        "spanbridge.processors.genai.config:GenAiConfig",
        "Makes every GenAI convention read alike.",
        ("gen_ai_normalizer",),
    ),
    Component(
        "processor",
        "redaction",
        "spanbridge.processors.redaction.config:RedactionConfig",
        "Masks secrets before the disk has them.",
    ),
    Component(
        "processor",
        "probabilistic_sampler",
        "spanbridge.processors.probabilistic_sampler:ProbabilisticSamplerConfig",
        "Keeps a share of the traces, by id.",
    ),
    Component(
        "processor",
        "tail_sampling",
        "spanbridge.processors.tail_sampling.config:TailSamplingConfig",
        "Keeps or drops whole traces by policies.",
    ),
    Component(
        "processor",
        "tag_schema",
        "spanbridge.processors.tag_schema.config:TagSchemaConfig",
        "Gives every trace the same tags, typed and checked.",
    ),
    Component(
        "processor",
        "span_metrics",
        "spanbridge.processors.span_metrics:SpanMetricsConfig",
        "Counts all spans, before any sampling.",
        ("spanmetrics",),
    ),
    Component(
        "exporter",
        "mlflow",
        "spanbridge.collector.exporters.mlflow.config:MlflowExporterConfig",
        "Writes whole traces to MLflow.",
    ),
    Component(
        "exporter",
        "otlp_grpc",
        "spanbridge.collector.exporters.config:OtlpGrpcExporterConfig",
        "Hands traces on over OTLP/gRPC.",
        ("otlp",),
    ),
    Component(
        "exporter",
        "otlp_http",
        "spanbridge.collector.exporters.config:OtlpHttpExporterConfig",
        "Hands traces on over OTLP/HTTP.",
        ("otlphttp",),
    ),
    Component(
        "exporter",
        "debug",
        "spanbridge.collector.exporters.config:DebugExporterConfig",
        "Writes what arrives to the log.",
        ("logging",),
    ),
    Component(
        "extension",
        "file_storage",
        "spanbridge.collector.extensions.health_check.config:FileStorageConfig",
        "The directory of the journals.",
    ),
    Component(
        "extension",
        "health_check",
        "spanbridge.collector.extensions.health_check.config:HealthCheckConfig",
        "Answers liveness probes.",
        ("healthcheckv2",),
    ),
    Component(
        "extension",
        "bearertokenauth",
        "spanbridge.collector.extensions.authentication.bearer_token:BearerTokenAuthConfig",
        "Lets in who shows a token, and binds tokens to experiments.",
    ),
    Component(
        "extension",
        "basicauth",
        "spanbridge.collector.extensions.authentication.basic_auth:BasicAuthConfig",
        "Lets in users by their passwords (htpasswd, bcrypt).",
    ),
)

_BY_NAME = {(component.kind, name): component for component in COMPONENTS for name in component.names}


class ComponentId(NamedTuple):
    """A component id, `type/name` in the YAML: its type with aliases resolved, and its name, mostly empty."""

    type: str
    name: str


def component_of(kind: Kind, component_id: str) -> Component:
    """The component an id like "otlp" or "otlp/2" stands for.

    Raises:
        ValueError: it is no id, or there is no such component.
    """
    written, slash, name = (part.strip() for part in component_id.partition("/"))
    if not _TYPE.fullmatch(written) or (slash and not name):
        raise ValueError('is no component id; write a type or "type/name"')
    try:
        return _BY_NAME[kind, written]
    except KeyError:
        known = [name for other, name in _BY_NAME if other == kind]
        raise ValueError(f'unknown {kind} type "{written}"; {suggestion(written, known)}') from None


def split_id(kind: Kind, component_id: str) -> ComponentId:
    """Type and name of an id, with aliases resolved: exporter "otlphttp/x" is ("otlp_http", "x").

    Raises:
        ValueError: it is no id, or there is no such component.
    """
    return ComponentId(component_of(kind, component_id).type, component_id.partition("/")[2].strip())


def describe_components() -> str:
    """The table as YAML, by kind."""
    listing = {f"{kind}s": [_described(c) for c in COMPONENTS if c.kind == kind] for kind in KINDS}
    return yaml.safe_dump(listing, sort_keys=False, width=120)


def _described(component: Component) -> dict[str, str | list[str]]:
    row: dict[str, str | list[str]] = {"name": component.type}
    if component.aliases:
        row["aliases"] = list(component.aliases)
    return row | {"description": component.description}
