"""How a command ends badly: one sentence for people, and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FAILED = 1
"""Refused, or it went wrong."""
MISUSED = 2
"""Not called as it must be: an option, an argument or a setting."""
WAYS_OUT = (
    "Backtest it (`rescind policies backtest`), let it run in mode shadow first, or say --yes to enforce it as it is."
)
"""What to do about a policy that would cancel for real, and of which nobody has seen what it does."""


class Failure(Exception):
    """The command cannot do what was asked; the message says why, and what to do."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class UnreachableError(Failure):
    """No server answers; it may do so in a moment."""


class ProblemError(Failure):
    """The server answered with a problem (RFC 9457)."""

    def __init__(self, message: str, document: dict[str, Any]) -> None:
        super().__init__(message)
        self.document = document

    @property
    def slug(self) -> str:
        """The last part of the problem's type."""
        return str(self.document.get("type", "")).rpartition(":")[2]


def unproven(policies: Sequence[str]) -> str:
    """What is wrong with policies that would cancel for real, and of which nobody has seen what they do."""
    kind, were, they = ("Policy", "was", "it") if len(policies) == 1 else ("Policies", "were", "they")
    end = "stands" if len(policies) == 1 else "stand"
    return (
        f"{kind} {', '.join(policies)} would cancel for real, "
        f"and {were} neither backtested nor in shadow mode as {they} {end}."
    )
