"""Checks of a cancel's arguments, for a handler's `check`. Each raises `InvalidCancel`."""

from __future__ import annotations

from collections.abc import Sequence

from app.contract import InvalidCancel


def check_text(field: str, value: str | None) -> None:
    """Refuse what JSON (half of a surrogate pair) or SQL (a NUL) cannot carry."""
    if value and any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value):
        raise InvalidCancel(field, f"the {field} holds a NUL or half a surrogate pair: take it out")


def check_no_note(provider: str, note: str | None) -> None:
    """Refuse a note where the provider has none: nobody shall believe it was told."""
    if note is not None and note.strip():
        raise InvalidCancel("note", f"{provider} takes no note with a cancel: leave it out, and say it in the reason")


def check_choice(field: str, value: str, accepted: Sequence[str], says: str) -> None:
    """Refuse a value that is none of `accepted`; `says` is the sentence before their list."""
    if value not in accepted:
        raise InvalidCancel(field, f"{says}: {', '.join(accepted)}")


def check_length(field: str, value: str, chars_max: int, takes: str) -> None:
    """Refuse a value over `chars_max` characters; `takes` says what the provider takes instead."""
    if len(value) > chars_max:
        raise InvalidCancel(field, f"{takes}, and this has {len(value)}: shorten it")
    check_text(field, value)
