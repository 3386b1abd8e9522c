"""JSON Schemas as annotations."""

from __future__ import annotations

import re
from typing import Any

Schema = dict[str, Any]
_SIMPLE = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_PAGE = re.compile(r"((?:Search)?Page)_(\w+)_")


def schema_name(schema: Schema) -> str | None:
    """The name of the component that a schema refers to."""
    return str(schema["$ref"]).rpartition("/")[2] if "$ref" in schema else None


def class_name(component: str) -> str:
    """`Page[Order]` for `Page_Order_`; other components have the names of their classes."""
    page = _PAGE.fullmatch(component)
    return f"{page[1]}[{page[2]}]" if page else component


def references(schema: Any) -> list[str]:
    """The names of all components that a schema refers to, in turn."""
    if isinstance(schema, list):
        return [name for part in schema for name in references(part)]
    if not isinstance(schema, dict):
        return []
    name = schema_name(schema)
    return [name] if name else [found for part in schema.values() for found in references(part)]


def annotation(schema: Schema, *, sent: bool) -> str:
    """The annotation of a value that is sent or received.

    What is received may have values that a later server added: where strings are enumerated, any is accepted.
    """
    name = schema_name(schema)
    if name is not None:
        return class_name(name)
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(annotation(part, sent=sent) for part in schema["anyOf"]))
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values:
        return f"Literal[{', '.join(map(_quoted, values))}]" if sent else type(values[0]).__name__
    kind = schema.get("type", "")
    if kind == "string" and schema.get("format") == "date-time":
        return "datetime"
    nested = {"array": _array, "object": _object}.get(kind)
    return nested(schema, sent=sent) if nested else _SIMPLE.get(kind, "Any")


def _object(schema: Schema, *, sent: bool) -> str:
    of = schema.get("additionalProperties")
    value = annotation(of, sent=sent) if isinstance(of, dict) and of else "Any"
    return f"Mapping[str, {value}]" if sent else f"dict[str, {value}]"


def _array(schema: Schema, *, sent: bool) -> str:
    item = annotation(schema.get("items", {}), sent=sent)
    length = schema.get("minItems")
    if length is not None and length == schema.get("maxItems"):
        return f"tuple[{', '.join([item] * length)}]"
    return f"Sequence[{item}]" if sent else f"list[{item}]"


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
