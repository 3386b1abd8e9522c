"""Kinds of fields that requests have, taken as strictly as the API's description states them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Strict

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")


def _written_out(value: object) -> object:
    # Numbers, also in a string, would be taken for seconds since 1970.
    if not isinstance(value, datetime) and not (isinstance(value, str) and _TIME.match(value)):
        raise ValueError("give a time as RFC 3339 has it: 2026-03-01T12:00:00Z")
    return value


# What a validator has looked at is no JSON any more to those after it, and a strict one would take no text.
Moment = Annotated[AwareDatetime, Strict(strict=False), BeforeValidator(_written_out)]
"""A time with its offset from UTC."""


def _true_or_false(value: object) -> object:
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise ValueError("give true or false")
        return value == "true"
    return value


Flag = Annotated[bool, BeforeValidator(_true_or_false)]
"""In a query: `true` or `false`."""


def _sayable(text: str) -> str:
    """Raise ValueError for what JSON cannot carry (half of a surrogate pair), or no database hold (NUL)."""
    if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("it holds a NUL or half of a surrogate pair: take it out")
    return text


Sayable = Annotated[str, AfterValidator(_sayable)]
"""Text that JSON can carry and a database hold."""
