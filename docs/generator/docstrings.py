"""The docstrings below the fields of a class, which Python itself does not keep."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Any

from msgspec import Struct
from pydantic import BaseModel


def field_docstrings(model: type) -> dict[str, str]:
    """Field or member → its docstring, of a class and of those it inherits from; a class made at run time has none."""
    said: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        try:
            source = textwrap.dedent(inspect.getsource(kind))
        except (OSError, TypeError):
            continue
        for definition in ast.parse(source).body:
            if isinstance(definition, ast.ClassDef):
                said |= _below_fields(definition)
    return said


def _below_fields(definition: ast.ClassDef) -> dict[str, str]:
    said = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if not isinstance(text, ast.Expr) or not isinstance(text.value, ast.Constant):
            continue
        if isinstance(field, ast.AnnAssign | ast.Assign):
            name = field.target if isinstance(field, ast.AnnAssign) else field.targets[0]
            said[ast.unparse(name)] = re.sub(r"\s+", " ", str(text.value.value)).strip()
    return said


@cache
def meanings_of(schema: str) -> dict[str, str]:
    """The docstrings of a schema's fields, from the class of that name that the API is made with."""
    kinds = [kind for parent in (Struct, BaseModel) for kind in _subclasses(parent) if kind.__name__ == schema]
    kinds.sort(key=lambda kind: not kind.__module__.startswith(("app.web", "app.core.representation")))
    return field_docstrings(kinds[0]) if kinds else {}


def _subclasses(parent: type[Any]) -> Iterator[type[Any]]:
    for child in parent.__subclasses__():
        yield child
        yield from _subclasses(child)
