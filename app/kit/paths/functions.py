"""Functions of paths beside JMESPath's own: on text, each of them bounded.

An argument that is nothing (`null`) gives nothing, so that a path may name what is not always there. A number with a
fraction counts as the text in which its spelling is kept. None of them takes a regular expression: one may take longer
than any budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jmespath.exceptions import JMESPathTypeError
from jmespath.functions import Functions, signature

from app.contract import MalformedPayload
from app.kit.payload import decode_any

CHARS_PER_STEP = 64
"""How many characters of text a step of the budget reads or writes."""
JSON_CHARS_PER_STEP = 16
"""As `CHARS_PER_STEP`, for text that is decoded as JSON."""
_ANY: Any = {"types": []}
"""These functions check their arguments themselves: JMESPath's check knows no text that is a subclass of `str`."""


class PathFunctions(Functions):
    """JMESPath's functions and ours.

    Args:
        take: counts steps of the evaluation's budget; raises if none are left.
    """

    def __init__(self, take: Callable[[int], None]) -> None:
        self._take = take

    @signature(_ANY)
    def _func_from_json(self, text: Any) -> Any:
        """The JSON that a text holds; null if it holds none, or is nested too deeply."""
        text = _text("from_json", text)
        if text is None:
            return None
        self._take(len(text) // JSON_CHARS_PER_STEP)
        try:
            return decode_any(text.encode(), "the source")
        except (MalformedPayload, UnicodeEncodeError):
            return None

    @signature(_ANY, _ANY)
    def _func_split(self, text: Any, separator: Any) -> list[str] | None:
        """The parts of a text between the separators."""
        text, separator = _text("split", text), _part("split", separator)
        if text is None or separator is None:
            return None
        self._take_text(len(text))
        self._take(text.count(separator) + 1)
        parts: list[str] = text.split(separator)
        return parts

    @signature(_ANY, _ANY, _ANY)
    def _func_replace(self, text: Any, old: Any, new: Any) -> str | None:
        """The text with `new` wherever `old` stood."""
        text, old, new = _text("replace", text), _part("replace", old), _text("replace", new)
        if text is None or old is None or new is None:
            return None
        self._take_text(len(text))
        # Before anything is replaced: the result may be longer than all that is left.
        self._take_text(len(text) + text.count(old) * (len(new) - len(old)))
        replaced: str = text.replace(old, new)
        return replaced

    @signature(_ANY)
    def _func_lower(self, text: Any) -> str | None:
        text = self._read("lower", text)
        return None if text is None else text.lower()

    @signature(_ANY)
    def _func_upper(self, text: Any) -> str | None:
        text = self._read("upper", text)
        return None if text is None else text.upper()

    @signature(_ANY)
    def _func_trim(self, text: Any) -> str | None:
        """The text without the white space around it."""
        text = self._read("trim", text)
        return None if text is None else text.strip()

    @signature(_ANY, _ANY, _ANY)
    def _func_substring(self, text: Any, start: Any, end: Any) -> str | None:
        """The characters from `start` up to `end`, counted from 0, or where negative from the end; null: to the end."""
        text = self._read("substring", text)
        for number in (start, end):
            if number is not None and type(number) is not int:
                raise _wrong("substring", number, "number")
        return None if text is None else text[start:end]

    def _read(self, function: str, value: Any) -> str | None:
        text = _text(function, value)
        self._take_text(0 if text is None else len(text))
        return text

    def _take_text(self, chars: int) -> None:
        self._take(chars // CHARS_PER_STEP)


def _text(function: str, value: Any) -> str | None:
    """The argument, if it is text or nothing."""
    if value is not None and not isinstance(value, str):
        raise _wrong(function, value, "string")
    return None if value is None else str(value)


def _part(function: str, value: Any) -> str | None:
    """The argument, if it is text to search for: an empty one is found everywhere."""
    text = _text(function, value)
    if text == "":
        raise _wrong(function, text, "string that is not empty")
    return text


def _wrong(function: str, value: Any, wanted: str) -> JMESPathTypeError:
    return JMESPathTypeError(function, value, type(value).__name__, [wanted])
