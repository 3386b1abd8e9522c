"""Which part of a list to fetch."""

from __future__ import annotations

from dataclasses import dataclass

LIMIT = 50


@dataclass(frozen=True, slots=True)
class Paging:
    """The part of a list to fetch."""

    limit: int = LIMIT
    everything: bool = False
    cursor: str | None = None
