"""Requests by template: Liquid, with bounds on everything that a template could make large or slow.

A template can use the tags and filters that are listed here and no others. Its loops are bounded by its own length, so
that no template takes more than `STEPS_MAX` steps; filters by the characters that they read and write; and what it
writes by `OUTPUT_CHARS_MAX`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from html import escape as html_escape
from typing import Any
from urllib.parse import quote

import msgspec
from liquid import BoundTemplate, Environment, RenderContext
from liquid.exceptions import LiquidError

from app.contract.zones import zone_of
from app.core.outbound.notices import slack

BODY_CHARS_MAX = 8000
HEADER_CHARS_MAX = 500
STEPS_MAX = 40_000
FILTER_STEPS = 8
"""What a filter counts for: calling one takes so much longer than a look-up."""
OUTPUT_CHARS_MAX = 65_536
FILTERED_CHARS_MAX = 400_000
"""What all filters of one request may read and write."""
LOCALS_BYTES_MAX = 131_072
NESTING_MAX = 8
MARKUP_CHARS_MAX = 500
"""From `{{` or `{%` to where that is closed. Reading it takes time in the square of its length, in one piece."""
SPACES_MAX = 50
"""In a row within markup, for the same reason."""
NAMES = ("notice", "notices", "message", "data")
"""The names that a template can use."""
_TAGS = (
    "if",
    "unless",
    "case",
    "for",
    "break",
    "continue",
    "assign",
    "capture",
    "comment",
    "echo",
    "content",
    "output",
    "illegal",
)
_WORD = re.compile(r"\w+|[^\w\s]")
_MARKUP = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_OPENING = re.compile(r"\{[{%]")
_SPACES = re.compile(rf"\s{{{SPACES_MAX + 1}}}")
_DIRECTIVES = re.compile(r"(?:[^%]|%[YmdHMSjabABpIyezZ%]){0,100}")


class InvalidTemplateError(Exception):
    """A template cannot be used; the message says why."""


class _Context(RenderContext):
    """Counts what filters read and write."""

    filtered = 0

    def count(self, *values: object) -> None:
        """Raise `LiquidError` when filters have processed too much."""
        self.filtered += sum(len(value) for value in values if isinstance(value, str | list | dict | tuple)) + 1
        if self.filtered > FILTERED_CHARS_MAX:
            raise LiquidError(f"filters process more than {FILTERED_CHARS_MAX} characters", token=None)


class _Template(BoundTemplate):
    context_class = _Context


class _Object(dict[str, Any]):
    """A JSON object, which has no text: writing a large one again and again would take long."""

    def __str__(self) -> str:
        raise LiquidError("an object cannot stand in text: name one of its members, or add | json", token=None)


class _Array(tuple[Any, ...]):
    """A JSON array, which has no text, as above."""

    __slots__ = ()

    def __str__(self) -> str:
        raise LiquidError("a list cannot stand in text: loop over it, or add | join or | json", token=None)


def _wrapped(value: Any) -> Any:
    if isinstance(value, dict):
        return _Object({key: _wrapped(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return _Array(_wrapped(item) for item in value)
    return value


def _json(value: Any) -> str:
    return msgspec.json.encode(_plain(value)).decode()


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    if value is None or type(value).__name__ == "Undefined":
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else _json(value)


def _plain(value: Any) -> Any:
    """A value without the language's own types; what is undefined is null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else None


def _replace(value: Any, old: Any, new: Any = "") -> str:
    text, before, after = _text(value), _text(old), _text(new)
    if not before:
        return text
    _require_short(len(text) + text.count(before) * (len(after) - len(before)))
    return text.replace(before, after)


def _join(value: Any, separator: Any = " ") -> str:
    items = [_text(item) for item in value] if isinstance(value, list | tuple) else [_text(value)]
    _require_short(sum(map(len, items)) + len(items) * len(_text(separator)))
    return _text(separator).join(items)


def _truncate(value: Any, length: Any = 50, ending: Any = "…") -> str:
    text, size, end = _text(value), int(length), _text(ending)
    return text if len(text) <= size else text[: max(0, size - len(end))] + end


def _date(value: Any, form: Any = "%Y-%m-%d %H:%M %Z", zone: Any = "UTC") -> str:
    if _DIRECTIVES.fullmatch(_text(form)) is None:
        raise LiquidError(
            "date: use only the directives %Y %m %d %H %M %S %b %B %a %A %j %y %e %I %p %z %Z", token=None
        )
    try:
        return datetime.fromisoformat(_text(value)).astimezone(zone_of(_text(zone))).strftime(_text(form))
    except (ValueError, KeyError, OSError) as error:
        raise LiquidError(f"date: {error}", token=None) from error


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | dict | tuple) else 0


def _item(index: int) -> Callable[[Any], Any]:
    return lambda value: value[index] if isinstance(value, list | tuple | str) and value else None


def _number(value: Any) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    try:
        return int(value[:18]) if isinstance(value, str) else 0
    except ValueError:
        return 0


def _default(value: Any, other: Any = "") -> Any:
    # Without writing it as text: it may be a large object.
    missing = value in ("", "false", "[]", "{}") if isinstance(value, str) else _size(value) == 0
    is_plain = isinstance(value, int | float) and value is not False
    return other if missing and not is_plain else value


_FILTERS: Mapping[str, Callable[..., Any]] = {
    "json": _json,
    "escape": lambda value: html_escape(_text(value)),
    "slack": lambda value: slack.escape(_text(value)),
    "url_encode": lambda value: quote(_text(value), safe=""),
    "default": _default,
    "upcase": lambda value: _text(value).upper(),
    "downcase": lambda value: _text(value).lower(),
    "capitalize": lambda value: _text(value).capitalize(),
    "strip": lambda value: _text(value).strip(),
    "append": lambda value, other: _text(value) + _text(other),
    "prepend": lambda value, other: _text(other) + _text(value),
    "replace": _replace,
    "join": _join,
    "truncate": _truncate,
    "date": _date,
    "size": _size,
    "first": _item(0),
    "last": _item(-1),
    "plus": lambda value, other: _number(value) + _number(other),
    "minus": lambda value, other: _number(value) - _number(other),
}
FILTERS = tuple(_FILTERS)


def _require_short(length: int) -> None:
    if length > OUTPUT_CHARS_MAX:
        raise LiquidError(f"a filter gives more than {OUTPUT_CHARS_MAX} characters", token=None)


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts what it reads and writes."""

    def apply(value: Any, *arguments: Any, context: _Context) -> Any:
        context.count(value, *arguments)
        try:
            result = function(value, *arguments)
        except (TypeError, ValueError, OverflowError) as error:
            raise LiquidError(f"a filter cannot take its arguments: {error}", token=None) from error
        context.count(result)
        _require_short(_size(result))
        return result

    apply.with_context = True  # type: ignore[attr-defined]  # how liquid is told to pass it
    return apply


def _environment(loops_max: int) -> Environment:
    made = _Environment()
    made.loop_iteration_limit = loops_max  # type: ignore[misc]  # declared for classes, read from instances
    made.tags = {name: tag for name, tag in made.tags.items() if name in _TAGS}
    made.filters = {name: _bounded(function) for name, function in _FILTERS.items()}
    return made


class _Environment(Environment):
    template_class = _Template
    block_nesting_limit = NESTING_MAX
    context_depth_limit = NESTING_MAX + 4
    local_namespace_limit = LOCALS_BYTES_MAX
    output_stream_limit = OUTPUT_CHARS_MAX


@lru_cache(maxsize=4096)
def compile_template(text: str) -> BoundTemplate:
    """The template in `text`. Raises `InvalidTemplateError`."""
    _require_short_markup(text)
    words = [word for markup in _MARKUP.findall(text) for word in _WORD.findall(markup)]
    steps = len(words) + FILTER_STEPS * words.count("|") + 1
    try:
        return _environment(max(1, STEPS_MAX // steps)).from_string(text)
    except (LiquidError, RecursionError, ValueError) as error:
        raise InvalidTemplateError(_explain(error)) from error


def _require_short_markup(text: str) -> None:
    """Raise `InvalidTemplateError` for markup that would take long to read."""
    opening = _OPENING.search(text)
    while opening is not None:
        start = opening.start()
        closing = "}}" if opening[0] == "{{" else "%}"
        end = text.find(closing, start + 2, start + MARKUP_CHARS_MAX)
        if end < 0 or _SPACES.search(text, start, end) is not None:
            line = text.count("\n", 0, start) + 1
            problem = f"is not closed by {closing} within {MARKUP_CHARS_MAX} characters"
            if end >= 0:
                problem = f"has more than {SPACES_MAX} spaces in a row"
            raise InvalidTemplateError(f"line {line}: {opening[0]} {problem}")
        opening = _OPENING.search(text, end + 2)


def names_in(text: str) -> list[tuple[str, ...]]:
    """The paths of names that a template reads from outside: `("data", "order")`. Raises `InvalidTemplateError`."""
    try:
        analysis = compile_template(text).analyze(include_partials=False)
    except (LiquidError, RecursionError) as error:
        raise InvalidTemplateError(_explain(error)) from error
    paths: dict[tuple[str, ...], None] = {}
    for variables in analysis.globals.values():
        for variable in variables:
            segments = []
            for segment in variable.segments:
                if not isinstance(segment, str):
                    break
                segments.append(segment)
            paths[tuple(segments)] = None
    return list(paths)


def render_template(text: str, values: Mapping[str, Any]) -> str:
    """What a template makes of values, of which it uses `NAMES`. Raises `InvalidTemplateError`."""
    try:
        return str(compile_template(text).render(_wrapped(values)))
    except (LiquidError, RecursionError, ValueError, TypeError, ArithmeticError) as error:
        raise InvalidTemplateError(_explain(error)) from error


def _explain(error: Exception) -> str:
    if isinstance(error, LiquidError):
        token = getattr(error, "token", None)
        text = str(error.args[0] if error.args else error).partition("\n")[0]
        if "loop iteration limit" in text:
            text = f"its loops take too many steps: at most {STEPS_MAX} for the whole template"
        if token is not None and token.start_index >= 0:
            before = token.source[: token.start_index]
            return f"line {before.count(chr(10)) + 1}: {text}"
        return text
    return f"{type(error).__name__}: {error}"
