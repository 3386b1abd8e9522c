"""Phases in their order: of several that speak of one order, the most advanced wins."""

from __future__ import annotations

from typing import TypeVar

from app.contract import Phase

P = TypeVar("P", bound=Phase | None)

PHASE_RANK = {None: 0, Phase.OPEN: 1, Phase.UNKNOWN: 2, Phase.IN_PROGRESS: 3, Phase.COMPLETED: 4, Phase.CANCELED: 5}


def furthest(*phases: P) -> P:
    """Resolve conflicting phases: the most advanced wins, as a refused cancel costs less than one sent in vain."""
    return max(phases, key=PHASE_RANK.__getitem__)
