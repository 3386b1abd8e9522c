"""Functions of Python's that statements call."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from app.core.erasure import ERASED, FREE_TEXT
from app.runtime import ids
from app.store.compression import DamagedReceiptError, body_text, unpack
from app.store.row_compression import RowReader
from app.store.sqlite.text import has_text, values_of, words_of

_RESPONSE = ("headers", "body")


def digest(body: bytes, dictionary: int | None, content: bytes | None) -> bytes:
    """The SHA-256 of a receipt's body; that of nothing if it cannot be read."""
    try:
        return sha256(body if dictionary is None else unpack(body, content)[2]).digest()
    except (DamagedReceiptError, ValueError):
        return sha256().digest()


def without_text(data: str) -> str:
    """The data of a message without free text."""
    return json.dumps(_replaced(json.loads(data)), ensure_ascii=False, separators=(",", ":"))


def without_responses(attempts: str) -> str:
    """The attempts at a delivery without what the receiver responded: it may repeat what it was sent."""
    tried = json.loads(attempts)
    kept = [{name: value for name, value in attempt.items() if name not in _RESPONSE} for attempt in tried]
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


def _replaced(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: ERASED if name in FREE_TEXT and isinstance(inner, str) and inner else _replaced(inner)
            for name, inner in value.items()
        }
    return [_replaced(inner) for inner in value] if isinstance(value, list) else value


def response_key(batch: str, end: int) -> str | None:
    """Where the keys of stored responses to requests for this batch begin, or end; None if none can be stored.

    The batch's id is all of the key's first eight bytes but their last bit (`app.web.batches`).
    """
    try:
        first = ids.read(ids.BATCH, batch) << 1
    except ValueError:
        return None
    return f"{first + 1:016x}g" if end else f"{first:016x}"


_FUNCTIONS: tuple[tuple[str, int, Callable[..., Any]], ...] = (
    ("receipt_text", 2, body_text),
    ("receipt_digest", 3, digest),
    ("without_text", 1, without_text),
    ("without_responses", 1, without_responses),
    ("response_key", 2, response_key),
    ("has_text", 3, has_text),
    ("words_of", 1, words_of),
    ("values_of", 1, values_of),
)


def functions() -> tuple[tuple[str, int, Callable[..., Any]], ...]:
    """(name, number of arguments, function) of what the statements of one connection call."""
    return (*_FUNCTIONS, ("row_text", 3, RowReader().text))


def add_functions(db: sqlite3.Connection) -> None:
    """Let statements on this connection call them."""
    for name, arguments, function in functions():
        db.create_function(name, arguments, function, deterministic=True)
