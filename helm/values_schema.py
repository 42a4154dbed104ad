# noqa: INP001  a script of its own
"""Makes helm/spanbridge/values.schema.json from values.yaml: `python helm/values_schema.py`.

The default value of a key says its type and the comment above it what it means. An empty list or map without more
words may hold anything of its kind; other maps take the keys that they show and no others. In the comment, a line
"@schema {…}" is merged into what was made; {config: true} stands for the schema of the bridge's own configuration and
{type: object} for a map with any keys.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))  # run as a script, from any folder

from spanbridge.collector.config.json_schema import json_schema  # noqa: E402  the line above makes it importable

CHART = Path(__file__).parent / "spanbridge"
SCHEMA = CHART / "values.schema.json"

_TYPES = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}


def values_schema(text: str) -> dict[str, Any]:
    """The JSON Schema of a values.yaml.

    Raises:
        ValueError: it is no mapping, or a key of it has no comment.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("values.yaml: must be a mapping")  # noqa: TRY004  of the file, not of an argument
    schema = _of_mapping(node, text.splitlines(), "")
    bridge = json_schema()
    # Helm gives a subchart `global`, whatever its values are.
    schema["properties"] |= {"config": _of_config(schema["properties"]["config"], bridge), "global": {"type": "object"}}
    return {"$schema": bridge["$schema"], "title": "spanbridge chart values", **schema, "$defs": bridge["$defs"]}


def _of_config(described: dict[str, Any], bridge: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in bridge.items() if key not in ("$schema", "$defs", "title")}
    return {"description": described["description"], **rest}


def _of_mapping(node: yaml.MappingNode, lines: list[str], path: str) -> dict[str, Any]:
    properties = {}
    for key, value in node.value:
        where = f"{path}{key.value}"
        description, hints = _comment(lines, key.start_mark.line)
        if not description and not (isinstance(value, yaml.MappingNode) and value.value):  # keys explain their section
            raise ValueError(f"{where}: has no comment")
        made: dict[str, Any] = {"description": description} if description else {}
        if "config" not in hints:
            made |= hints if "type" in hints else _of_value(value, lines, f"{where}.") | hints
        properties[key.value] = made
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _of_value(node: yaml.Node, lines: list[str], path: str) -> dict[str, Any]:
    if isinstance(node, yaml.SequenceNode):
        return {"type": "array"}
    if isinstance(node, yaml.MappingNode):
        return _of_mapping(node, lines, path)
    return {"type": _TYPES[node.tag.rpartition(":")[2]]}


def _comment(lines: list[str], line: int) -> tuple[str, dict[str, Any]]:
    """The comment right above a line, as one text, and what its @schema lines say."""
    words: list[str] = []
    hints: dict[str, Any] = {}
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        text = lines[line].lstrip().removeprefix("#").strip()
        if text.startswith("@schema "):
            hints = yaml.safe_load(text.removeprefix("@schema ")) | hints
        else:
            words.insert(0, text)
    return " ".join(words), hints


def rendered() -> str:
    """The schema of the chart's values.yaml, as the file has it."""
    return json.dumps(values_schema((CHART / "values.yaml").read_text()), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(rendered())
