"""Of several words on one order the one that counts."""

from __future__ import annotations

from typing import TypeVar

from app.contract import Phase
from app.core.event import STAGE

P = TypeVar("P", bound=Phase | None)


def furthest(*phases: P) -> P:
    """The one furthest along: it is better to refuse a cancel that might have worked than to send one in vain."""
    return max(phases, key=STAGE.__getitem__)
