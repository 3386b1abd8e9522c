"""Functions of Python's that statements call."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from app.store.compression import DamagedReceiptError, body_text, unpack
from app.store.expunging import response_key, without_responses, without_text
from app.store.row_compression import RowReader
from app.store.text import has_text, values_of, words_of


def digest(body: bytes, dictionary: int | None, content: bytes | None) -> bytes:
    """The SHA-256 of a receipt's body; that of nothing if it cannot be read."""
    try:
        return sha256(body if dictionary is None else unpack(body, content)[2]).digest()
    except (DamagedReceiptError, ValueError):
        return sha256().digest()


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
