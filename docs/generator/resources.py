"""The fields of accounts, endpoints and policies, from their models."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel, SecretStr
from pydantic.fields import FieldInfo

from app.config.models import AccountSpec, EndpointSpec, PolicySpec
from generator.docstrings import field_docstrings
from generator.markdown import anchor, table

_NAMES = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    SecretStr: "secret",
    dict: "mapping",
    AwareDatetime: "time",
}
_SECTIONS = (("accounts", AccountSpec), ("endpoints", EndpointSpec), ("policies", PolicySpec))


def fields() -> str:
    """A section for each kind of resource, each followed by the models that its fields are made of."""
    parts = []
    for key, model in _SECTIONS:
        parts.append(_section(f"`{key}`", model))
        parts += [_section(inner.__name__, inner, level=3) for inner in _models_in(model)]
    return "\n\n".join(parts)


def _section(title: str, model: type[BaseModel], level: int = 2) -> str:
    said = field_docstrings(model)
    rows = [
        (f"`{name}`", _written(field.annotation), _default(field), field.description or said.get(name, ""))
        for name, field in model.model_fields.items()
    ]
    about = inspect.cleandoc(model.__doc__ or "")
    return f"{'#' * level} {title}\n\n{about}\n\n" + table(("field", "type", "default", "meaning"), rows)


def _models_in(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for field in model.model_fields.values():
        for kind in _leaves(field.annotation):
            if inspect.isclass(kind) and issubclass(kind, BaseModel):
                yield kind
                yield from _models_in(kind)


def _leaves(hint: Any) -> Iterator[Any]:
    if get_origin(hint) in (Union, UnionType, tuple, Annotated):
        for part in get_args(hint):
            yield from _leaves(part)
    else:
        yield hint


def _written(hint: Any) -> str:
    """A field's type in words."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(_written(part) for part in parts if part is not NoneType)
    if origin is tuple:
        return f"list of {_written(parts[0])}"
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if inspect.isclass(hint) and issubclass(hint, Enum):
        return ", ".join(f"`{part.value}`" for part in hint)
    if inspect.isclass(hint) and issubclass(hint, BaseModel):
        return f"[{hint.__name__}](#{anchor(hint.__name__)})"
    return _NAMES[origin or hint]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.default.value if isinstance(field.default, Enum) else field.default
    if default is None or default in ("", (), {}) or isinstance(default, BaseModel):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
