"""A provider's JSON: decoding it, and picking what is kept of an order.

What comes out is safe to keep: every number fits every JSON reader and database, and no NUL character is left.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from app.contract import MalformedPayload

Payload = dict[str, Any]

ATTRIBUTE_BYTES_MAX = 8 * 1024
ATTRIBUTE_DEPTH_MAX = 16

MONEY = frozenset({"price", "amount", "cost", "total", "subtotal", "tax", "fee", "discount"})
"""Fields whose numbers are kept as strings: as spelled, so that no cent is lost."""

_INT_MAX = 2**63
_NUL_ESCAPE = b"\\u0000"
"""The only way in which JSON can hold a NUL character."""


class _Spelled(str):
    """A JSON number with a fraction or an exponent, as it was spelled."""

    __slots__ = ()


class _TooDeep(Exception):
    """An attribute is nested deeper than any order is."""


NUMBERS = frozenset({int, _Spelled})
"""The types of decoded JSON numbers."""

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
        if not raw.strip():
            raise MalformedPayload(f"the body is empty: {provider} sends JSON") from error
        raise MalformedPayload(f"the body is not the JSON that {provider} sends ({error})") from error


def pick_attributes(body: Payload, names: Iterable[str], raw: bytes, money: Collection[str] = MONEY) -> Payload:
    """The attributes `names` of the order, fit to be stored; `raw` is what `body` was decoded from.

    One that is too large or too deep is left out. The decoded body is changed in place: it is nobody else's,
    and this is a hot path.
    """
    has_nul = _NUL_ESCAPE in raw
    # What is small as a whole has no large part, and need not be measured.
    is_large = len(raw) > ATTRIBUTE_BYTES_MAX
    picked: Payload = {}
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        kind = type(value)
        if kind is not str:
            try:
                value = _safe_number(value, name, money) if kind in NUMBERS else _made_safe(value, name, 0, money)
            except _TooDeep:
                continue
        if has_nul:
            value = _without_nul(value)
        if not is_large or len(_encode(value)) <= ATTRIBUTE_BYTES_MAX:
            picked[name] = value
    return picked


def _made_safe(value: Any, name: str, depth: int, money: Collection[str]) -> Any:
    """`value` with numbers that every store and every JSON reader takes, and money as strings."""
    if depth >= ATTRIBUTE_DEPTH_MAX:
        raise _TooDeep
    if type(value) is dict:
        for key, each in value.items():
            kind = type(each)
            if kind is str:
                continue
            if kind in NUMBERS:
                value[key] = _safe_number(each, key, money)
            elif kind is dict or kind is list:
                _made_safe(each, key, depth + 1, money)
    elif type(value) is list:
        for index, each in enumerate(value):
            if type(each) in NUMBERS:
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
