"""Reading a provider's JSON: tolerant of what is missing, strict about what an order is called.

What comes out is safe to keep: every number fits every JSON reader and database, and no NUL character is left.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, tzinfo
from typing import Any
from urllib.parse import quote

import msgspec

from app.contract import InvalidCancel, MalformedPayload

Payload = dict[str, Any]

ATTRIBUTE_BYTES_MAX = 8 * 1024
ATTRIBUTE_DEPTH_MAX = 16
ID_CHARS_MAX = 200
STATUS_CHARS_MAX = 100
WHOLE_DIGITS_MAX = 18
"""So many digits every JSON reader and database holds as an integer."""

MONEY = frozenset({"price", "amount", "cost", "total", "subtotal", "tax", "fee", "discount"})
"""Fields whose numbers are kept as strings: as spelled, so that no cent is lost."""

_INT_MAX = 2**63
_NUL_ESCAPE = b"\\u0000"
"""The only way in which JSON can hold a NUL character."""
_TIME_CHARS_MIN = len("20260302T16")
"""What is shorter is a date without a time of day."""
_MILLISECONDS_FROM = 1e11
"""Unix times from here on are milliseconds: as seconds they would lie beyond the year 5000."""


class _Spelled(str):
    """A JSON number with a fraction or an exponent, as it was spelled."""

    __slots__ = ()


class _TooDeep(Exception):
    """An attribute is nested deeper than any order is."""


_NUMBERS = frozenset({int, _Spelled})

_decode = msgspec.json.Decoder(float_hook=_Spelled).decode
_encode = msgspec.json.encode


def decode(raw: bytes, provider: str) -> Payload:
    """The JSON object that `raw` holds. Raises `MalformedPayload`."""
    body = decode_any(raw, provider)
    if type(body) is not dict:
        raise MalformedPayload(f"the body is JSON, but not an object (it is of type {type(body).__name__})")
    return body


def decode_any(raw: bytes, provider: str) -> Any:
    """The JSON that `raw` holds. Raises `MalformedPayload`."""
    try:
        return _decode(raw)
    except RecursionError as error:
        raise MalformedPayload(f"the body is nested too deeply to be an order of {provider}'s") from error
    except ValueError as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
        raise MalformedPayload(f"the body is not the JSON that {provider} sends ({error})") from error


def find(body: Payload, key: str) -> Any:
    """What stands at `key`, which may be dotted; None where nothing does."""
    value = body.get(key)
    if value is None and "." in key:
        value = body
        for part in key.split("."):
            value = value.get(part) if type(value) is dict else None
    return value


def first(body: Payload, keys: Iterable[str]) -> Any:
    """What stands at the first of `keys` that has something."""
    for key in keys:
        value = find(body, key)
        if value is not None:
            return value
    return None


def named(body: Payload, key: str) -> str | None:
    """The order's id at `key`, None if none is there. Raises `MalformedPayload` for what can be no id."""
    value = body.get(key)
    if value is None:
        return None
    if type(value) is int:
        value = str(value)
    elif type(value) is not str:
        raise MalformedPayload(f"{key} is neither a string nor a whole number")
    if not is_name(value):
        raise MalformedPayload(f"{key} must have 1 to {ID_CHARS_MAX} printable characters")
    return value


def name_in(value: Any) -> str | None:
    """`value` as a name, or None where it can be none."""
    if type(value) is int:
        value = str(value)
    return value if type(value) is str and is_name(value) else None


def is_name(value: str) -> bool:
    """Can it be an order's name?"""
    return len(value) <= ID_CHARS_MAX and value.isprintable() and bool(value.strip())


def path_segment(name: str) -> str | None:
    """`name`, quoted, as one segment of a URL's path; None for one that could leave its place there.

    Clients and servers on the way take dots and slashes for steps in the path, quoted or not.
    """
    if name in ("", ".", "..") or not name.isprintable() or "/" in name or "\\" in name:
        return None
    return quote(name, safe="")


def whole_number(text: str) -> int | None:
    """The whole number that `text` is, written as numbers are and not longer than every reader takes; else None."""
    is_plain = text.isascii() and text.isdecimal() and len(text) <= WHOLE_DIGITS_MAX
    return int(text) if is_plain and (text == "0" or not text.startswith("0")) else None


def check_text(field: str, value: str | None) -> None:
    """Raise `InvalidCancel` for words of a cancel that JSON (half of a surrogate pair) or SQL (a NUL) cannot carry."""
    if value and any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value):
        raise InvalidCancel(field, f"the {field} holds a NUL or half a surrogate pair: take it out")


def check_no_note(provider: str, note: str | None) -> None:
    """Raise `InvalidCancel` for a note where the provider has none: nobody shall believe it was told."""
    if note is not None and note.strip():
        raise InvalidCancel("note", f"{provider} takes no note with a cancel: leave it out, and say it in the reason")


def word(value: Any) -> str | None:
    """A status or the like, fit to be kept; None where there is none."""
    return value[:STATUS_CHARS_MAX].replace("\0", "") if type(value) is str and value else None


def first_word(body: Payload, keys: Iterable[str]) -> str | None:
    """The status or the like at the first of `keys` that has one."""
    for key in keys:
        found = word(find(body, key))
        if found is not None:
            return found
    return None


def moment_at(body: Payload, keys: Iterable[str], zone: tzinfo | None) -> datetime | None:
    """The time at the first of `keys` that has something, as `moment_of` reads it.

    Raises `MalformedPayload` if that is no time.
    """
    for key in keys:
        value = find(body, key)
        if value is not None:
            moment = moment_of(value, zone)
            if moment is None:
                raise MalformedPayload(f"{key} is neither an ISO 8601 time nor unix seconds or milliseconds")
            return moment
    return None


def moment_of(value: Any, zone: tzinfo | None) -> datetime | None:
    """A time as ISO 8601 or unix seconds or milliseconds; None if it is none.

    It is in UTC where it is one instant. A time without an offset is one in the account's `zone`; where none is set,
    or no time of day is given, it comes without a zone, and where the clocks of the zone repeat or skip it, in that
    zone: what such a time stands for is decided when the event is made (`app.core.event.stamp`).
    """
    try:
        if type(value) is str:
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                return _unix_time(float(value))
            return moment.astimezone(UTC) if moment.tzinfo else _in_zone(moment, zone, value)
        if type(value) in _NUMBERS:
            return _unix_time(float(value))
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _in_zone(local: datetime, zone: tzinfo | None, spelled: str) -> datetime:
    if zone is None or len(spelled) < _TIME_CHARS_MIN:
        return local
    earlier, later = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return earlier if earlier == later else local.replace(tzinfo=zone)


def kept(body: Payload, names: Iterable[str], raw: bytes, money: Collection[str] = MONEY) -> Payload:
    """The attributes `names` of the order, fit to be kept; `raw` is what `body` was decoded from.

    One that is too large or too deep is left out. The decoded body is changed in place: it is nobody else's,
    and this is a hot path.
    """
    has_nul = _NUL_ESCAPE in raw
    # What is small as a whole has no large part, and need not be measured.
    is_large = len(raw) > ATTRIBUTE_BYTES_MAX
    found: Payload = {}
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        kind = type(value)
        if kind is not str:
            try:
                value = _safe_number(value, name, money) if kind in _NUMBERS else _made_safe(value, name, 0, money)
            except _TooDeep:
                continue
        if has_nul:
            value = _without_nul(value)
        if not is_large or len(_encode(value)) <= ATTRIBUTE_BYTES_MAX:
            found[name] = value
    return found


def _unix_time(value: float) -> datetime | None:
    if not math.isfinite(value):
        return None
    return datetime.fromtimestamp(value / 1000 if abs(value) >= _MILLISECONDS_FROM else value, UTC)


def _made_safe(value: Any, name: str, depth: int, money: Collection[str]) -> Any:
    """`value` with numbers that every store and every JSON reader takes, and money as strings."""
    if depth >= ATTRIBUTE_DEPTH_MAX:
        raise _TooDeep
    if type(value) is dict:
        for key, each in value.items():
            kind = type(each)
            if kind is str:
                continue
            if kind in _NUMBERS:
                value[key] = _safe_number(each, key, money)
            elif kind is dict or kind is list:
                _made_safe(each, key, depth + 1, money)
    elif type(value) is list:
        for index, each in enumerate(value):
            if type(each) in _NUMBERS:
                value[index] = _safe_number(each, name, money)
            else:
                _made_safe(each, name, depth + 1, money)
    return value


def _safe_number(value: Any, name: str, money: Collection[str]) -> Any:
    """An integer of at most 64 bits, a finite float, or the number as it was spelled."""
    if name in money:
        return str(value)
    if type(value) is int:
        return value if -_INT_MAX <= value < _INT_MAX else str(value)
    number = float(value)
    return number if math.isfinite(number) else str(value)


def _without_nul(value: Any) -> Any:
    """`value` without NUL characters, which PostgreSQL cannot hold; its depth is bounded already."""
    if type(value) is str:
        return value.replace("\0", "")
    if type(value) is dict:
        return {key.replace("\0", ""): _without_nul(each) for key, each in value.items()}
    return [_without_nul(each) for each in value] if type(value) is list else value
