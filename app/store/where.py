"""Conditions of statements, as text with a question mark for each value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.store.records import Window


class Where:
    """A WHERE clause of the conditions that have a value."""

    def __init__(self, **equal: Any) -> None:
        self._conditions: list[str] = []
        self.values: list[Any] = []
        for column, value in equal.items():
            self.add(f"{column} = ?", value)

    def add(self, condition: str, value: Any) -> None:
        """Add a condition with one placeholder; not if the value is None."""
        if value is not None:
            self._conditions.append(condition)
            self.values.append(value)

    def any_of(self, condition: str, values: Sequence[Any]) -> None:
        """Add that the condition, which has one placeholder, holds for any of the values; not if there are none."""
        if values:
            self._conditions.append(f"({' OR '.join([condition] * len(values))})")
            self.values += values

    def all_of(self, condition: str, values: Sequence[Any]) -> None:
        """Add a condition with several placeholders."""
        self._conditions.append(condition)
        self.values += values

    def beyond(self, key: str, window: Window) -> None:
        """Add that the key lies after the window's position in its direction."""
        self.add(f"{key} {'>' if window.newer else '<'} ?", window.position)

    def __bool__(self) -> bool:
        return bool(self._conditions)

    def __str__(self) -> str:
        return f"WHERE {' AND '.join(self._conditions)}" if self._conditions else ""
