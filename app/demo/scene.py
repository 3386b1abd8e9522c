"""What a chapter has at hand, and the shape that all chapters have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.demo.clients import Provider, Rescind
from app.demo.report import Report
from app.demo.stage import Stage
from app.demo.voice import Voice

LIMIT = 100
"""PlanOmatic's documented limit; its window is the stage's."""


@dataclass(slots=True)
class Scene:
    """The two sides, the one who tells, and the table."""

    stage: Stage
    rescind: Rescind
    provider: Provider
    voice: Voice
    report: Report
    number: int = 0
    """Of the chapter that is played."""

    def claim(self, what: str, expected: object, seen: object, *, ok: bool | None = None) -> None:
        """Put a claim to the test; see `Report.add`."""
        self.report.add(self.number, what, expected, seen, ok=ok)


@dataclass(frozen=True, slots=True)
class Chapter:
    """One part of the story."""

    title: str
    text: str
    """What happens, and why it matters."""
    play: Callable[[Scene], Awaitable[None]]
