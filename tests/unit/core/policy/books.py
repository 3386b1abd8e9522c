"""Books of one order with policies, for worked examples of what policies decide."""

from __future__ import annotations

from typing import Any

from unit.core.book import Book
from unit.core.support import PROBED, appointment, at, fact, phase

from app.contract import Facts, Phase
from app.core.policy.decide import next_check_at
from app.core.policy.model import Policy

HOUR = 3600.0
DAY = 24 * HOUR


def book(*policies: Policy, **more: Any) -> Book:
    """A book whose order was opened at T0, with these policies."""
    made = Book(PROBED, "probe", *policies)
    made.hear(phase("opened", 0, Phase.OPEN), **more)
    return made


def scheduled(starts: float, when: float) -> Any:
    return fact(f"a-{when}", when, Facts(appointments=(appointment(starts),)))


def until(book: Book) -> float | None:
    """When time alone has the order checked, in seconds after T0."""
    found = next_check_at(book.unit)
    return None if found is None else (found - at(0)).total_seconds()
