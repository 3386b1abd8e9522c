"""Erasure of personal data from events: what of an event stays, and what stands in its place.

Facts stay: phase, status, times, appointments, ids, and who decided what. The values of attributes that the handler
declares personal, and free text, are replaced. Equal values of one order get the same placeholder and different ones
different ones, and none is dropped, so that the fold of the erased events differs from that of the original ones in
these values only: when an order changed, and which event a field is from, stays exact (guarantee I8).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from app.contract import Phase
from app.core.cancellation import EVENT_PREFIX, Cancellation
from app.core.commands import Command
from app.core.event import Event
from app.core.event_types import PROBE_PREFIX
from app.core.unit_of_work import UnitOfWork

EVERY = "*"
"""Among the names that are personal: all attributes."""
ERASED = "[erased]"
"""Stands for free text."""
_NUMBERED = re.compile(r"\[erased ([0-9]+)\.([0-9]+)\]")
FREE_TEXT = ("note", "detail")
"""Fields that people or providers fill with words of their own."""
_EMPTY: tuple[Any, ...] = (None, "", [], {})


class Eraser:
    """Erases the events of one order, each after all that the log has before it."""

    def __init__(self, order: int, personal: Collection[str]) -> None:
        """Make one for the order of this number; `personal` are the names that its handler declares."""
        self._order, self._personal = order, frozenset(personal)
        self._numbers: dict[Hashable, int] = {}
        self._last = 0

    def count(self, events: Iterable[Event]) -> None:
        """Give out none of the placeholders that an earlier erasure of these events did."""
        for event in events:
            self._count(event.facts.attributes)

    def erase(self, event: Event) -> Event:
        """The event without personal data; the same object if it has none."""
        attributes = self._without(event.facts.attributes, is_top=True)
        if attributes is not event.facts.attributes:
            event = replace(event, facts=replace(event.facts, attributes=attributes))
        if event.type.startswith(EVENT_PREFIX) and isinstance(event.data.get("changes"), dict):
            changes = _without_text(event.data["changes"])
            if changes is not event.data["changes"]:
                event = replace(event, data={**event.data, "changes": changes})
        elif event.type.startswith(PROBE_PREFIX):
            data = _without_text(event.data)
            event = event if data is event.data else replace(event, data=data)
        return event

    def _without(self, value: Any, *, is_top: bool = False) -> Any:
        if isinstance(value, dict):
            new = {
                name: self._placeholder(inner) if self._is_personal(name, is_top=is_top) else self._without(inner)
                for name, inner in value.items()
            }
            return value if all(new[name] is value[name] for name in value) else new
        if isinstance(value, list):
            rest = [self._without(inner) for inner in value]
            return value if all(new is old for new, old in zip(rest, value, strict=True)) else rest
        return value

    def _is_personal(self, name: str, *, is_top: bool) -> bool:
        return name in self._personal or (is_top and EVERY in self._personal)

    def _placeholder(self, value: Any) -> Any:
        if value in _EMPTY or (isinstance(value, str) and _NUMBERED.fullmatch(value)):
            return value
        key = _hashable(value)
        if key not in self._numbers:
            self._last += 1
            self._numbers[key] = self._last
        # With the order's number, as equal attributes would make two orders duplicates of each other.
        return f"[erased {self._order}.{self._numbers[key]}]"

    def _count(self, value: Any) -> None:
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            self._count(inner)
        if isinstance(value, str) and (match := _NUMBERED.fullmatch(value)) and int(match[1]) == self._order:
            self._last = max(self._last, int(match[2]))


def _without_text(fields: dict[str, Any]) -> dict[str, Any]:
    present = [name for name in FREE_TEXT if fields.get(name) not in (None, "", ERASED)]
    return {**fields, **dict.fromkeys(present, ERASED)} if present else fields


def _hashable(value: Any) -> Hashable:
    """The value so that two are equal where the values are, as the fold compares them."""
    if isinstance(value, dict):
        return frozenset((name, _hashable(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return tuple(_hashable(inner) for inner in value)
    return value  # type: ignore[no-any-return]  # a scalar


class EraseOrder(Command[None], frozen=True):
    """Erase the personal data of an order; recorded by a commit of its own (`Ledger.erase`, `Ledger.prune`)."""

    older_than: datetime | None = None
    """Only if the order is over, and all its events were received before. None: in any case."""

    def decide(self, unit: UnitOfWork) -> None:
        """Nothing: the log is rewritten by the commit."""

    def refusal(self, unit: UnitOfWork, received_at: datetime | None) -> Cancellation | bool:
        """Why it may not be erased now: its live cancellation, or True for any other reason; else False.

        `received_at` is when its latest event was received; None if it has none.
        """
        if unit.aggregate.live:
            return unit.aggregate.live[0]
        if self.older_than is None:
            return False
        is_over = unit.aggregate.order.phase in (Phase.CANCELED, Phase.COMPLETED)
        return not is_over or received_at is None or received_at >= self.older_than
