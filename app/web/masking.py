"""Masking of private fields in the body of a receipt that is shown, in JSON of any depth and in forms."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

import msgspec

from app.runtime.redaction import REDACTED

DEPTH_MAX = 100

_SEPARATORS = re.compile(r"[\[\].]+")


def mask(body: str, private: Collection[str]) -> str:
    """`body` with the values of fields that have `private` names masked; the same object if there are none."""
    try:
        # Names may be written with escapes, so only decoding tells whether they occur.
        content = msgspec.json.decode(body)
        return msgspec.json.encode(content).decode() if _mask_in(content, private, DEPTH_MAX) else body
    except (msgspec.DecodeError, RecursionError):
        return _masked_text(body, private) if _names_any(unquote_plus(body), private) else body


def _names_any(text: str, private: Collection[str]) -> bool:
    return any(name in text for name in private)


def _masked_text(body: str, private: Collection[str]) -> str:
    """A form with its private fields masked. Any other text is masked as a whole: fields have no known end in it."""
    fields = parse_qsl(body, keep_blank_values=True)
    if body.lstrip().startswith(("{", "[", "<")) or not any(name in private for name, _ in fields):
        return REDACTED
    masked = [(name, REDACTED if _is_private(name, value, private) else value) for name, value in fields]
    return urlencode(masked, safe="*")


def _is_private(name: str, value: str, private: Collection[str]) -> bool:
    """Whether a form's field is private by its name (`customer[email]` by either part), or by what its value names."""
    parts = (name, *_SEPARATORS.split(name))
    return any(part in private for part in parts) or _names_any(value, private) or _holds_private_json(value, private)


def _mask_in(value: Any, private: Collection[str], depth: int) -> bool:
    """Mask in place; return whether anything was masked. What is nested deeper than `depth` is masked as a whole."""
    masked = False
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        if (
            (isinstance(value, dict) and key in private and inner is not None)
            or (depth == 0 and isinstance(inner, dict | list))
            or (isinstance(inner, str) and _holds_private_json(inner, private))
        ):
            value[key] = REDACTED
            masked = True
        elif isinstance(inner, dict | list):
            masked |= _mask_in(inner, private, depth - 1)
    return masked


def _holds_private_json(text: str, private: Collection[str]) -> bool:
    """Whether the text is JSON inside JSON that may have private fields."""
    return text.lstrip().startswith(("{", "[")) and ("\\u" in text or _names_any(text, private))
