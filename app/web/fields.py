"""Field types of requests, validated as strictly as the API's schema states them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Strict

SourceName = Literal["webhook", "provider", "clock", "operator"]
"""The values of `app.contract.Source` that a filter takes; in the log others are possible, of a newer release."""
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")


def _rfc_3339(value: object) -> object:
    # pydantic would take a number, also in a string, for seconds since 1970.
    if not isinstance(value, datetime) and not (isinstance(value, str) and _TIME.match(value)):
        raise ValueError("give a time in RFC 3339: 2026-03-01T12:00:00Z")
    return value


def _within_utc(moment: datetime) -> datetime:
    """Raise ValueError for a time that UTC has no year for: the store could not give it back."""
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC it is outside the years 1 to 9999") from None
    return moment


# After a validator in Python, pydantic no longer knows that the value was JSON, and strict mode would refuse text.
Moment = Annotated[AwareDatetime, Strict(strict=False), BeforeValidator(_rfc_3339), AfterValidator(_within_utc)]
"""A time with its offset from UTC."""


def _true_or_false(value: object) -> object:
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise ValueError("give true or false")
        return value == "true"
    return value


Flag = Annotated[bool, BeforeValidator(_true_or_false)]
"""`true` or `false` in a query."""


def _storable(text: str) -> str:
    """Raise ValueError for characters that JSON cannot encode (a lone surrogate) or no database stores (NUL)."""
    if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("it has a NUL or a lone surrogate: remove it")
    return text


Text = Annotated[str, AfterValidator(_storable)]
"""Text that JSON can encode and a database can store."""


_GLOB = re.compile(r"[^\s,?\[\]*]*(\*[^\s,?\[\]*]*){0,3}")
"""A type, with at most three stars: each one more would multiply what matching costs."""
GLOBS_MAX = 50


def _type_globs(text: str) -> str:
    globs = text.split(",")
    if len(globs) > GLOBS_MAX:
        raise ValueError(f"give at most {GLOBS_MAX} types")
    for glob in globs:
        if not glob or not _GLOB.fullmatch(glob):
            raise ValueError("give types, separated by commas; a star stands for any characters: appointment.*")
    return text


TypeGlobs = Annotated[str, AfterValidator(_type_globs)]
"""Types, separated by commas, with stars for any characters."""


def split_globs(given: str | None) -> tuple[str, ...]:
    """The single types of `TypeGlobs`."""
    return tuple(dict.fromkeys(given.split(","))) if given else ()
