"""What registering webhooks has in common at providers with an API for it."""

from __future__ import annotations

from collections.abc import Sequence

from app.contract import RegistrationFailed
from app.kit.responses import ResponseKind

HOPELESS = frozenset({ResponseKind.NOT_ALLOWED, ResponseKind.CLOSED, ResponseKind.THROTTLED, ResponseKind.MISDIRECTED})
"""After one of these, the remaining calls would fail as well."""


def in_part(done: str, failed: Sequence[str], succeeded: Sequence[str]) -> RegistrationFailed:
    """The error where not all was `done` (registered, deleted).

    Args:
        done: what was to be done, as a participle.
        failed: sentences that say which topic failed and why.
        succeeded: the topics that did not fail.
    """
    others = f" {done.capitalize()} were: {', '.join(succeeded)}." if succeeded else ""
    return RegistrationFailed(f"Not {done}: {' '.join(failed)}{others}")
