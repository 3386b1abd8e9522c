"""Ids of orders: reading them strictly, and putting them into calls."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from app.contract import MalformedPayload

ID_CHARS_MAX = 200
WHOLE_DIGITS_MAX = 18
"""Every JSON reader and database holds integers of this many digits."""


def read_id(body: dict[str, Any], key: str) -> str | None:
    """The order's id at `key`; None if there is none. Raises `MalformedPayload` for what can be no id."""
    value = body.get(key)
    if value is None:
        return None
    if type(value) is int:
        value = str(value)
    elif type(value) is not str:
        raise MalformedPayload(f"{key} is neither a string nor a whole number")
    if not is_id(value):
        raise MalformedPayload(f"{key} must have 1 to {ID_CHARS_MAX} printable characters")
    return value


def id_or_none(value: Any) -> str | None:
    """`value` as an id; None where it can be none."""
    if type(value) is int:
        value = str(value)
    return value if type(value) is str and is_id(value) else None


def is_id(value: str) -> bool:
    """Can it be an order's id?"""
    return len(value) <= ID_CHARS_MAX and value.isprintable() and bool(value.strip())


def path_segment(id: str) -> str | None:
    """`id`, quoted, as one segment of a URL's path; None for one that could leave its place there.

    Clients and servers on the way take dots and slashes for steps in the path, quoted or not.
    """
    if id in ("", ".", "..") or not id.isprintable() or "/" in id or "\\" in id:
        return None
    return quote(id, safe="")


def whole_number(text: str) -> int | None:
    """The whole number that `text` is, written as numbers are and at most `WHOLE_DIGITS_MAX` long; else None."""
    is_plain = text.isascii() and text.isdecimal() and len(text) <= WHOLE_DIGITS_MAX
    return int(text) if is_plain and (text == "0" or not text.startswith("0")) else None
