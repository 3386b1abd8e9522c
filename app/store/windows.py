"""Reading the part of a list that a `Window` asks for, from rows that go newest first."""

from __future__ import annotations

from typing import Any, TypeVar

from app.store.records import Window

T = TypeVar("T")


def direction(window: Window) -> str:
    """The direction in which rows of a list that goes newest first are read for this window."""
    return "ASC" if window.newer else "DESC"


def in_order(rows: list[T], window: Window) -> list[T]:
    """Rows as they were read for the window, in the order of the list."""
    return rows[::-1] if window.newer else rows


def beyond(key: str, window: Window, placeholder: str) -> tuple[str, list[Any]]:
    """(the condition that the key lies after the window's position in its direction, its value)."""
    if window.position is None:
        return "", []
    return f"{key} {'>' if window.newer else '<'} {placeholder}", [window.position]
