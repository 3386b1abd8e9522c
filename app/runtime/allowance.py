"""Bounds how often something is done that strangers can ask for without end."""

from __future__ import annotations

from time import monotonic


class Allowance:
    """A number of times a second, counted by whole seconds of the monotonic clock."""

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._second, self._used = 0, 0

    def admit(self, now: float | None = None) -> bool:
        """Whether it may be done once more."""
        second = int(monotonic() if now is None else now)
        if second != self._second:
            self._second, self._used = second, 0
        self._used += 1
        return self._used <= self._per_s
