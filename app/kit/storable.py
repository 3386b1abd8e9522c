"""Text as every database and JSON can hold it."""

from __future__ import annotations


def storable(text: str) -> str:
    """`text` with a replacement character for each NUL and for each half of a surrogate pair."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
