"""Templates: text with `{{ CEL }}` inside, checked when it is configured, for URLs, headers and bodies of calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from msgspec import Struct

from app.contract import CancelRequest
from app.kit.cel import expression
from app.kit.cel.expression import Expression, ExpressionFailed, InvalidExpression, Kind, Scope
from app.kit.cel.order_view import ORDER, as_text, order_values

OPENING, CLOSING = "{{", "}}"
CALL = ORDER.plus({"reason": Kind.STRING, "note": Kind.STRING, "cancellation.id": Kind.STRING, "attempt": Kind.INT})
"""What a URL may use."""
SECRETS = "secrets."

_DEEPER, _SHALLOWER = "([{", ")]}"


@lru_cache(maxsize=256)
def with_secrets(names: frozenset[str], scope: Scope = CALL) -> Scope:
    """What headers and bodies may use besides the names of the URL: the account's secrets too."""
    return scope.plus({SECRETS + name: Kind.STRING for name in names}, digests=True)


def call_values(request: CancelRequest, now: datetime) -> dict[str, Any]:
    """The values of the names in `CALL`."""
    about = {"cancellation.id": request.id, "attempt": request.attempt}
    return {**order_values(request.order, now), "reason": request.reason, "note": request.note or "", **about}


class Template(Struct, frozen=True):
    """Text and expressions, in turn."""

    parts: tuple[str | Expression, ...]

    def value(self, values: Mapping[str, Any]) -> Any:
        """The value; that of a single expression keeps its type. Raises `ExpressionFailed`."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Expression):
            return _jsonable(self.parts[0].evaluate(values))
        return self.text(values)

    def text(self, values: Mapping[str, Any]) -> str:
        """The value as text. Raises `ExpressionFailed`."""
        return "".join(part if isinstance(part, str) else text_of(part, values) for part in self.parts)


@lru_cache(maxsize=4096)
def template(text: str, scope: Scope) -> Template:
    """The template in `text`, checked. Raises `InvalidExpression`, with the place in `text`."""
    parts: list[str | Expression] = []
    at = 0
    while (start := text.find(OPENING, at)) >= 0:
        if start > at:
            parts.append(text[at:start])
        inside = start + len(OPENING)
        end = _end_of(text, inside)
        line, column = _place(text, inside)
        if end is None:
            raise InvalidExpression(f"the {OPENING} is not closed", line, max(1, column - len(OPENING)))
        try:
            parts.append(expression.compile(text[inside:end], scope, Kind.ANY))
        except InvalidExpression as error:
            shift = column - 1 if error.line == 1 else 0
            raise InvalidExpression(error.problem, line + error.line - 1, error.column + shift) from None
        at = end + len(CLOSING)
    if at < len(text) or not parts:
        parts.append(text[at:])
    return Template(tuple(parts))


def leaves(tree: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every string in a tree of JSON, with the path to it."""
    if isinstance(tree, str):
        yield where, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{where}.{key}")
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from leaves(value, f"{where}.{index}")


def reads(text: str, scope: Scope, name: str) -> bool:
    """Whether the template reads that name."""
    return any(name in part.names for part in template(text, scope).parts if isinstance(part, Expression))


def filled(tree: Any, scope: Scope, values: Mapping[str, Any]) -> Any:
    """The tree, with every string taken as a template. Raises `ExpressionFailed`."""
    if isinstance(tree, str):
        return template(tree, scope).value(values)
    if isinstance(tree, dict):
        return {key: filled(value, scope, values) for key, value in tree.items()}
    if isinstance(tree, list):
        return [filled(value, scope, values) for value in tree]
    return tree


def _end_of(text: str, at: int) -> int | None:
    """Where the expression that begins at `at` is closed: braces inside of strings and maps do not close it."""
    depth, quote = 0, ""
    while at < len(text):
        char = text[at]
        if quote:
            if char == "\\":
                at += 1
            elif char == quote:
                quote = ""
        elif char in "\"'":
            quote = char
        elif char in _DEEPER:
            depth += 1
        elif depth == 0 and text.startswith(CLOSING, at):
            return at
        elif char in _SHALLOWER:
            depth -= 1
        at += 1
    return None


def _place(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, offset - before.rfind("\n")


def _jsonable(value: Any) -> Any:
    return as_text(value) if isinstance(value, datetime) else value


def text_of(part: Expression, values: Mapping[str, Any]) -> str:
    """The value of one expression as text. Raises `ExpressionFailed`."""
    return plain_text(part.evaluate(values), part.text.strip())


def plain_text(value: Any, name: str) -> str:
    """A value as text; `name` is what it is called in the error. Raises `ExpressionFailed`."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case datetime():
            return as_text(value)
        case None:
            return ""
    raise ExpressionFailed(f"{name}: a {type(value).__name__} cannot stand inside of text")
