"""JSON Schemas in words."""

from __future__ import annotations

from typing import Any

from generator.markdown import anchor

_FORMATS = {"date-time": "time", "binary": "bytes"}


def type_of(schema: dict[str, Any]) -> str:
    """A schema's type in words, with links to those that have a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{anchor(name)})"
    options = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if options:
        return " or ".join(dict.fromkeys(type_of(option) for option in options))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {type_of(schema['items'])}" if schema.get("items") else "list"
    if isinstance(schema.get("additionalProperties"), dict) and schema["additionalProperties"]:
        return f"map of {type_of(schema['additionalProperties'])}"
    kinds = schema.get("type", "any value")
    named = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    return _FORMATS.get(schema.get("format", ""), named)
