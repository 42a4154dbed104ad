"""The JSON Schema of a whole configuration file, for editors and for charts."""

from __future__ import annotations

import re
from typing import Any

from pydantic.json_schema import models_json_schema

from spanbridge.collector.config.components import COMPONENTS, KINDS, Component
from spanbridge.collector.config.service import ServiceConfig

_SUBSTITUTION = {"type": "string", "pattern": r"\$\{.*\}", "description": "Replaced before it is read, e.g. ${env:X}."}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema, 2020-12, of a file that holds everything; one of several that merge need not match it.

    Null and `${env:X}` are allowed for any value, since null means the default and what a reference holds is not
    known.
    """
    models = [component.config for component in COMPONENTS] + [ServiceConfig]
    references, shared = models_json_schema([(model, "validation") for model in models], ref_template="#/$defs/{model}")
    definitions = {name: _loosened(schema) for name, schema in shared.get("$defs", {}).items()}
    sections = {
        f"{kind}s": _section([(c, references[c.config, "validation"]) for c in COMPONENTS if c.kind == kind])
        for kind in KINDS
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "spanbridge configuration",
        "type": "object",
        "properties": {**sections, "connectors": {"type": "null"}, "service": references[ServiceConfig, "validation"]},
        "required": ["receivers", "exporters", "service"],
        "additionalProperties": False,
        "$defs": {**definitions, "Substitution": _SUBSTITUTION},
    }


def _section(rows: list[tuple[Component, dict[str, Any]]]) -> dict[str, Any]:
    """The components of one kind, by their ids."""
    return {
        "type": ["object", "null"],
        "patternProperties": {
            f"^({'|'.join(map(re.escape, component.names))})(/.+)?$": _or_null({**reference})
            for component, reference in rows
        },
        "additionalProperties": False,
    }


def _loosened(schema: Any) -> Any:
    """`schema` with null and substitutions allowed wherever an object's value stands."""
    if isinstance(schema, list):
        return [_loosened(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _loosened(item) for key, item in schema.items() if key != "properties"}
    if "properties" in schema:
        result["properties"] = {key: _or_null(_loosened(item)) for key, item in schema["properties"].items()}
    if isinstance(result.get("additionalProperties"), dict):
        result["additionalProperties"] = _or_null(result["additionalProperties"])
    return result


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Its `default`, title and description stay outside, where editors look for them."""
    outside: dict[str, Any] = {key: schema.pop(key) for key in ("default", "description", "title") if key in schema}
    return {"anyOf": [schema, {"type": "null"}, {"$ref": "#/$defs/Substitution"}], **outside}
