"""The reference of event types, from the schemas of what they carry."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec
from msgspec import Struct

from app.contract import Facts
from app.core.cancellation import EVENT_PREFIX, Cancellation, CancellationChanges, State
from app.core.event_types import EVENT_TYPES, FACT_TYPES, POLICY_DECIDED, POLICY_PREFIX
from app.core.policy.model import Outcome
from generator.docstrings import field_docstrings
from generator.markdown import anchor, table
from generator.schemas import type_of

_SCHEMAS: list[type[Struct]] = [*EVENT_TYPES.values(), Facts]
_REF = "#/{name}"


def types() -> str:
    """All of Rescind's own event types, with the schema of `data`."""
    rows = [
        (f"`{name}`", f"[{schema.__name__}](#{anchor(schema.__name__)})", _meaning(name, schema))
        for name, schema in EVENT_TYPES.items()
    ]
    rows += [(f"`{name}`", "none: it has facts", said) for name, said in FACT_TYPES.items()]
    return table(("type", "`data`", "meaning"), rows)


def schemas() -> str:
    """A section for each schema of `data`, and for those that its fields are made of."""
    return sections(_SCHEMAS)


def sections(schemas: Sequence[type[Struct]]) -> str:
    """A section for each of the schemas, and for those that their fields are made of."""
    _, components = msgspec.json.schema_components(schemas, ref_template=_REF)
    structs = {struct.__name__: struct for struct in _structs(schemas)}
    return "\n\n".join(_section(name, schema, structs.get(name)) for name, schema in sorted(components.items()))


def _structs(schemas: Sequence[type[Struct]]) -> set[type]:
    """The schemas, and all classes that their fields are made of."""
    found: set[type] = set()
    todo: list[Any] = list(msgspec.inspect.multi_type_info(schemas))
    while todo:
        info = todo.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls in found:
                continue
            found.add(info.cls)
            todo += [field.type for field in info.fields]
        elif isinstance(info, msgspec.inspect.EnumType):
            found.add(info.cls)
        elif isinstance(info, msgspec.inspect.UnionType):
            todo += info.types
        else:
            todo += filter(None, (getattr(info, name, None) for name in ("item_type", "value_type")))
    return found


def _section(name: str, schema: dict[str, Any], struct: type | None) -> str:
    parts = [f"### {name}"]
    if struct is not None and struct.__doc__:
        parts.append(inspect.cleandoc(struct.__doc__))
    fields = schema.get("properties", {})
    if fields:
        said = {} if struct is None else field_docstrings(_described_by(struct))
        times = set() if struct is None else _times(struct)
        required = schema.get("required", ())
        rows = [
            (
                f"`{field}`",
                type_of(given).replace("string", "time" if field in times else "string"),
                "" if field in required else "yes",
                said.get(field, ""),
            )
            for field, given in fields.items()
        ]
        parts.append(table(("field", "type", "may be absent", "meaning"), rows))
    elif struct is None:
        parts.append(f"One of {type_of(schema)}.")
    elif issubclass(struct, Enum):
        parts.append(_members(struct) or f"One of {type_of(schema)}.")
    else:
        parts.append("It has no fields.")
    return "\n\n".join(parts)


def _members(enumeration: type[Enum]) -> str:
    """The members of an enumeration with what they mean, if it says so."""
    said = field_docstrings(enumeration)
    return table(("value", "meaning"), [(f"`{each.value}`", said[each.name]) for each in enumeration]) if said else ""


def _times(struct: type) -> set[str]:
    """The fields that hold a time, which a schema calls a string."""
    info = msgspec.inspect.type_info(struct)
    fields = info.fields if isinstance(info, msgspec.inspect.StructType) else ()
    held = {field.encode_name: getattr(field.type, "types", (field.type,)) for field in fields}
    return {
        name for name, kinds in held.items() if any(isinstance(kind, msgspec.inspect.DateTimeType) for kind in kinds)
    }


def _described_by(struct: type) -> type:
    return Cancellation if struct is CancellationChanges else struct


def _meaning(name: str, schema: type[Struct]) -> str:
    for prefix, members in ((EVENT_PREFIX, State), (POLICY_PREFIX, Outcome)):
        if name.startswith(prefix) and name != POLICY_DECIDED:
            return field_docstrings(members)[members(name.removeprefix(prefix)).name]
    return _about(schema)


def _about(schema: type[Struct]) -> str:
    return inspect.cleandoc(schema.__doc__ or "").partition("\n\n")[0]
