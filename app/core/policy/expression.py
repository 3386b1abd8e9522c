"""The expressions of a policy: its condition, the clauses of that, and the moment from which it waits."""

from __future__ import annotations

import re
from datetime import timedelta

from app.core.policy.scope import POLICY
from app.kit.cel import expression
from app.kit.cel.expression import Expression, InvalidExpression, Kind
from app.kit.duration import MAX, parse_duration

_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_TOKEN = re.compile(
    r"""[rRbB]{0,2}(?:\"\"\".*?\"\"\"|'''.*?'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|//[^\n]*|&&|\|\||.""", re.DOTALL
)


class InvalidPolicy(Exception):
    """A policy cannot be used: `field` is at fault, an expression in it at `line` and `column` (from 1)."""

    def __init__(self, field: str, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.field, self.line, self.column = field, line, column


def condition(text: str) -> Expression:
    """A condition, checked. Raises `InvalidPolicy`."""
    return _compiled("when", text, Kind.BOOL)


def clauses(text: str) -> tuple[Expression, ...]:
    """The parts of a condition that `&&` joins. Raises `InvalidPolicy`."""
    return tuple(condition(clause) for clause in split(text))


def wait(text: str) -> tuple[timedelta, Expression | None]:
    """How long to wait, and since when: `48h since order.opened_at`, or `48h`. Raises `InvalidPolicy`."""
    length, since, moment = text.strip().partition(" since ")
    if not since:
        return duration("wait", length), None
    start = text.index(since) + len(since)
    start += len(text[start:]) - len(text[start:].lstrip())
    return duration("wait", length.strip()), _compiled("wait", moment.strip(), Kind.TIMESTAMP, text[:start])


def duration(field: str, text: str | timedelta) -> timedelta:
    """A duration that stands in a policy's `field`. Raises `InvalidPolicy`."""
    if isinstance(text, timedelta):
        return text
    length = parse_duration(text)
    if length is None or length > MAX:
        hint = "; or with a time: 48h since order.opened_at; or leave it out, to act at once" if field == "wait" else ""
        raise InvalidPolicy(field, f"{text!r} is not a duration: give one such as 30m, 48h or 3d{hint}")
    return length


def split(text: str) -> list[str]:
    """The texts in a condition that `&&` joins on the outermost level."""
    parts, open_brackets, start = [], list[str](), 0
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word in _BRACKETS:
            open_brackets.append(_BRACKETS[word])
        elif open_brackets and word == open_brackets[-1]:
            open_brackets.pop()
        elif not open_brackets and word in ("||", "?"):
            # They bind less tightly than &&, whose operands then are not clauses of the whole.
            return [text.strip()]
        elif not open_brackets and word == "&&":
            parts.append(text[start : token.start()].strip())
            start = token.end()
    return [*parts, text[start:].strip()]


def _compiled(field: str, text: str, wanted: Kind, before: str = "") -> Expression:
    """The expression `text`, which stands behind `before` in the field. Raises `InvalidPolicy`."""
    try:
        return expression.compile(text, POLICY, wanted)
    except InvalidExpression as error:
        on_first = len(before) - (before.rfind("\n") + 1) if error.line == 1 else 0
        line, column = error.line + before.count("\n"), error.column + on_first
        raise InvalidPolicy(field, str(InvalidExpression(error.problem, line, column)), line, column) from None
