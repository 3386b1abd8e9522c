"""The docstrings below the fields of a class, which Python itself does not keep."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap


def field_docstrings(model: type) -> dict[str, str]:
    """Field → its docstring, of a class and of those it inherits from; a class made at run time has none."""
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
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            said[ast.unparse(field.target)] = re.sub(r"\s+", " ", str(text.value.value)).strip()
    return said
