"""Errors of commands: one sentence for people, and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FAILED = 1
"""Exit code: refused or failed."""
MISUSED = 2
"""Exit code: usage error. An option, an argument or a setting is wrong."""
WAYS_OUT = (
    "Backtest it (`rescind policies backtest`), run it in mode shadow first, or give --yes to enforce it untested."
)
"""What to do about an enforced policy that was never backtested or shadowed."""


class Failure(Exception):
    """The command cannot do what was requested; the message says why, and what to do."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class AwayError(Failure):
    """There was no response, or the server is overloaded; a repetition may get one."""


class UnreachableError(AwayError):
    """No server accepts connections; it may be starting."""


class ProblemError(Failure):
    """The server responded with a problem (RFC 9457)."""

    def __init__(self, message: str, document: dict[str, Any]) -> None:
        super().__init__(message)
        self.document = document

    @property
    def slug(self) -> str:
        """The last part of the problem's type."""
        return str(self.document.get("type", "")).rpartition(":")[2]


def untested(policies: Sequence[str]) -> str:
    """The sentence about enforced policies that were never backtested or shadowed."""
    kind, were = ("Policy", "was") if len(policies) == 1 else ("Policies", "were")
    return (
        f"{kind} {', '.join(policies)} would cancel for real, and {were} never backtested or shadowed in this version."
    )
