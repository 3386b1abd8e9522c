"""How a command ends badly: one sentence for people, and an exit code."""

from __future__ import annotations

from typing import Any

FAILED = 1
"""Refused, or it went wrong."""
MISUSED = 2
"""Not called as it must be: an option, an argument or a setting."""


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
