"""Checks of a cancel's arguments, for a handler's `check`. Each raises `InvalidCancel`."""

from __future__ import annotations

from app.contract import InvalidCancel


def check_text(field: str, value: str | None) -> None:
    """Refuse what JSON (half of a surrogate pair) or SQL (a NUL) cannot carry."""
    if value and any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value):
        raise InvalidCancel(field, f"the {field} holds a NUL or half a surrogate pair: take it out")


def check_no_note(provider: str, note: str | None) -> None:
    """Refuse a note where the provider has none: nobody shall believe it was told."""
    if note is not None and note.strip():
        raise InvalidCancel("note", f"{provider} takes no note with a cancel: leave it out, and say it in the reason")
