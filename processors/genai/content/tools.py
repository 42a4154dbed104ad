"""Tool definitions of every make, shaped as MLflow's UI shows them: OpenAI's `{"type": "function", "function": ...}`.

The UI drops the whole list if one entry is not so (isModelTraceChatTool): `parameters.required` must be a list of
texts, and the `type` and `description` of each property texts.
"""

from __future__ import annotations

from typing import Any

from spanbridge.processors.genai.values import as_name, decoded, first

_SCHEMA_KEYS = (
    "parameters",
    "inputSchema",
    "input_schema",
    "parameters_json_schema",
    "parametersJsonSchema",
    "json_schema",
)
_GROUPS = ("function_declarations", "functionDeclarations", "tools", "function_tools")
_WRAPPERS = ("function", "toolSpec")


def chat_tools(value: Any) -> list[dict[str, Any]] | None:
    """Return tool definitions in OpenAI's shape, or None when there are none.

    Args:
        value: A list of definitions, a JSON text of one, or a list of JSON texts.
    """
    value = decoded(value)
    tools = [
        tool for item in (value if isinstance(value, list) else [value]) for tool in _tools_in(decoded(item)) if tool
    ]
    return tools or None


def named_tools(value: Any) -> list[dict[str, Any]] | None:
    """Return tools of which only the names are stated in OpenAI's shape, or None when there are none.

    Args:
        value: A list of names, or a text with commas between them.
    """
    value = decoded(value)
    names = value.split(",") if isinstance(value, str) else value
    found = [as_name(name) for name in names] if isinstance(names, list) else []
    return [{"type": "function", "function": {"name": name}} for name in found if name] or None


def _tools_in(item: Any) -> list[dict[str, Any] | None]:
    if not isinstance(item, dict):
        return []
    group = first(item, _GROUPS)
    if isinstance(group, list) and "name" not in item:
        return [_tool(decoded(entry)) for entry in group]
    return [_tool(item)]


def _tool(item: Any) -> dict[str, Any] | None:
    if not isinstance(item, dict):
        return None
    function = first(item, _WRAPPERS)
    source = function if isinstance(function, dict) else item
    name = as_name(source.get("name") or source.get("type"))
    if name is None:
        return None
    shaped: dict[str, Any] = {"name": name}
    if isinstance(source.get("description"), str):
        shaped["description"] = source["description"]
    schema = decoded(first(source, _SCHEMA_KEYS))
    if isinstance(schema, dict):
        schema = schema["json"] if isinstance(schema.get("json"), dict) else schema
        shaped["parameters"] = _shown_schema(schema)
    return {"type": "function", "function": shaped}


def _shown_schema(schema: dict[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    required = schema.get("required")
    shown = dict(schema)
    if isinstance(properties, dict):
        shown["properties"] = {name: _shown_property(value) for name, value in properties.items()}
    elif "properties" in shown:
        del shown["properties"]
    if required is not None and not (isinstance(required, list) and all(isinstance(name, str) for name in required)):
        del shown["required"]
    return shown


def _shown_property(value: Any) -> Any:
    """Return a property with one type: JSON Schema allows a list of them, MLflow's UI wants one text."""
    if not isinstance(value, dict):
        return {}
    shown = dict(value)
    if isinstance(value.get("type"), list):
        shown["type"] = " | ".join(str(kind) for kind in value["type"])
    elif not isinstance(value.get("type"), (str, type(None))):
        del shown["type"]
    if not isinstance(value.get("description"), (str, type(None))):
        del shown["description"]
    if not isinstance(value.get("enum"), (list, type(None))):
        del shown["enum"]
    return shown
