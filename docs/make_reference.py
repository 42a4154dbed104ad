"""docs/configuration.md, made from the config models: `make docs`. A test holds the committed file to it.

A model that one key names becomes rows with dotted keys; one that several models name, or that stands in a list, a map
or a choice, becomes a section of its own that the rows link to.
"""

from __future__ import annotations

import functools
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from spanbridge.collector.config.components import COMPONENTS, KINDS, Component
from spanbridge.collector.config.service import ServiceConfig
from spanbridge.processors.settings import ConfigModel, Duration

Model: TypeAlias = type[ConfigModel]

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs/configuration.md"
DURATION = next(iter(Duration.__metadata__))
PLAIN: Mapping[Any, str] = {bool: "true or false", int: "integer", float: "number", str: "text", Any: "anything"}
INTRODUCTION = """\
# Configuration

This file is made from the program's own models by `make docs`; `spanbridge schema` prints the same as JSON Schema.

A configuration has the sections of a Collector's: `receivers`, `processors`, `exporters`, `extensions` and `service`.
Durations are written `200ms`, `30s`, `5m`. `${env:X}`, `${env:X:-default}` and `$$` work as in the Collector. Several
`--config` merge, later ones win, and `--set a.b=c` wins over all. Unknown keys and undefined references are refused,
every problem with its path; `spanbridge validate` shows them all. A default of null is written as a dash.
"""


def reference() -> str:
    """Return the whole document."""
    shared = shared_models()
    chapters = [INTRODUCTION]
    for kind in KINDS:
        chapters.append(f"## {kind.capitalize()}s\n")
        chapters.extend(component_section(row, shared) for row in COMPONENTS if row.kind == kind)
    chapters.append(f"## Service\n\n{first_paragraph(ServiceConfig)}\n\n{table(ServiceConfig, shared)}")
    chapters.append("## Sections that several keys have\n")
    chapters.extend(f"### {title(model)}\n\n{first_paragraph(model)}\n\n{table(model, shared)}" for model in shared)
    return "\n".join(chapters)


def component_section(row: Component, shared: list[Model]) -> str:
    """Return what there is to say of one component."""
    aliases = "".join(f", `{name}`" for name in row.aliases)
    heading = f"### `{row.type}`{aliases}" if aliases else f"### `{row.type}`"
    readme = next((path for path in readmes(row) if (ROOT / path).exists()), None)
    more = f" More: [{readme}](../{readme})." if readme else ""
    return f"{heading}\n\n{row.description}{more}\n\n{first_paragraph(row.config)}\n\n{table(row.config, shared)}"


def readmes(row: Component) -> Iterator[str]:
    """Yield where a component's README may be."""
    folder = row.model.partition(":")[0].removeprefix("spanbridge.").replace(".", "/")
    yield f"{folder}/README.md"
    yield f"{folder}.md"
    yield f"{folder.rpartition('/')[0]}/README.md"


def first_paragraph(model: Model) -> str:
    """Return the beginning of a model's docstring, as one line."""
    return " ".join((model.__doc__ or "").partition("\n\n")[0].split())


def table(model: Model, shared: list[Model]) -> str:
    """Return the keys of a model, with those of the models inside."""
    lines = [f"| {' | '.join(row)} |" for row in rows(model, shared)]
    return "\n".join(["| key | type | default | |", "|---|---|---|---|", *lines, ""]) if lines else "It has no keys.\n"


def rows(model: Model, shared: list[Model], above: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield key, type, default and description of each key."""
    for name, field in model.model_fields.items():
        key = above + (field.alias or name)
        inner = only_model(field.annotation)
        opened = inner is not None and inner not in shared
        kind = "section" if opened else duration(field) or type_text(field.annotation)
        yield f"`{key}`", kind, default(field), description(model, name, field)
        if inner is not None and opened:
            yield from rows(inner, shared, key + ".")


def description(model: Model, name: str, field: FieldInfo) -> str:
    """Return what a key does, or else in what it departs from the Collector."""
    notes: Mapping[str, str] = getattr(model, "NOTES", {})
    note = notes.get(field.alias or name, "")
    text = field.description or (note[:1].upper() + note[1:])
    return " ".join(text.split()).replace("|", "\\|")


def duration(field: FieldInfo) -> str:
    """Return "duration" for one, else nothing."""
    return "duration" if DURATION in field.metadata else ""


def default(field: FieldInfo) -> str:
    """Return the default as YAML has it; a dash for what is null or a section."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or isinstance(value, ConfigModel):
        return "-"
    if DURATION in field.metadata:
        return f"`{duration_text(value)}`"
    return f"`{json.dumps(plain(value), ensure_ascii=False)}`"


def plain(value: Any) -> Any:
    """Return a value as JSON has it, models inside too."""
    if isinstance(value, ConfigModel):
        return value.model_dump(exclude_defaults=True)
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value


def duration_text(seconds: float) -> str:
    """Return seconds as a person would write them."""
    if seconds and seconds < 1:
        return f"{seconds * 1000:g}ms"
    if seconds and seconds % 60 == 0:
        return f"{seconds / 60:g}m"
    return f"{seconds:g}s" if seconds else "0"


def type_text(annotation: Any) -> str:
    """Return what may be written for a type."""
    if isinstance(annotation, type) and issubclass(annotation, ConfigModel):
        return f"[{title(annotation)}](#{slug(title(annotation))})"
    if annotation in PLAIN:
        return PLAIN[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return "duration" if DURATION in arguments[1:] else type_text(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" if value != "" else "empty" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return ", ".join(dict.fromkeys(type_text(one) for one in arguments if one is not type(None)))
    if origin in (tuple, list, frozenset, set):
        return f"list of {type_text(arguments[0])}"
    if origin in (dict, Mapping):
        return f"map of {type_text(arguments[1])}"
    return "text"


def only_model(annotation: Any) -> Model | None:
    """Return the model of a key that takes one and nothing else."""
    inner = [one for one in typing.get_args(annotation) or (annotation,) if one is not type(None)]
    if typing.get_origin(annotation) in (None, types.UnionType, typing.Union) and len(inner) == 1:
        return inner[0] if isinstance(inner[0], type) and issubclass(inner[0], ConfigModel) else None
    return None


def shared_models() -> list[Model]:
    """Return the models with a section of their own, in the order in which they are met."""
    uses: dict[Model, set[tuple[Model, bool]]] = {}
    for model in every_model():
        for field in model.model_fields.values():
            for found in models_in(field.annotation):
                uses.setdefault(found, set()).add((model, only_model(field.annotation) is found))
    return [model for model, by in uses.items() if len(by) > 1 or not all(alone for _, alone in by)]


@functools.cache
def every_model() -> list[Model]:
    """Return every model that a configuration may have, each after the first that names it."""
    found: dict[Model, None] = {}

    def visit(model: Model) -> None:
        if model not in found:
            found[model] = None
            for field in model.model_fields.values():
                for inner in models_in(field.annotation):
                    visit(inner)

    for root in [*(row.config for row in COMPONENTS), ServiceConfig]:
        visit(root)
    return list(found)


def models_in(annotation: Any) -> Iterator[Model]:
    """Yield the models that a type names."""
    if isinstance(annotation, type) and issubclass(annotation, ConfigModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def title(model: Model) -> str:
    """Return a heading: "TLS server" for TlsServerConfig, with the folder before it where another one is called so."""
    words = re.findall(r"[A-Z][a-z]*|[0-9]+", model.__name__.removesuffix("Config"))
    if sum(other.__name__ == model.__name__ for other in every_model()) > 1:
        words.insert(0, model.__module__.split(".")[-2].replace("_", " "))
    return re.sub(
        r"\b(tls|ottl|http)\b", lambda word: word[0].upper(), " ".join(words).capitalize(), flags=re.IGNORECASE
    )


def slug(heading: str) -> str:
    """Return what a link to a heading is called."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    FILE.write_text(reference())
