"""The docstrings below the fields of a class, which Python itself does not keep."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Struct
from pydantic import BaseModel


def field_docstrings(model: type) -> dict[str, str]:
    """Field or member → its docstring, of a class and of those it inherits from; a class made at run time has none."""
    said: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        file = getattr(sys.modules.get(kind.__module__), "__file__", None)
        definition = _classes(file).get(kind.__qualname__) if file and file.endswith(".py") else None
        if definition is not None:
            said |= _below_fields(definition)
    return said


@cache
def _classes(file: str) -> dict[str, ast.ClassDef]:
    """Qualified name → class, of those that a file defines outside of functions."""
    found: dict[str, ast.ClassDef] = {}

    def look(statements: list[ast.stmt], prefix: str) -> None:
        for statement in statements:
            if isinstance(statement, ast.ClassDef):
                found.setdefault(prefix + statement.name, statement)
                look(statement.body, f"{prefix}{statement.name}.")

    look(ast.parse(Path(file).read_text(encoding="utf-8")).body, "")
    return found


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
