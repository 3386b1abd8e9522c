"""Duplicates: orders that are the same to their provider, as they have the same values under the account's keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import msgspec

from app.contract import Order
from app.core.aggregate import OrderAggregate
from app.core.unit_of_work import UnitOfWork
from app.kit.cel.order_view import as_text

_NEVER = datetime.max.replace(tzinfo=UTC)
_ORDERED = msgspec.json.Encoder(order="sorted")


def fingerprint(order: Order, keys: Sequence[str]) -> int | None:
    """The fingerprint that duplicates share, a signed integer of 64 bits; None where a key is missing or all are empty.

    Args:
        order: has the values in its attributes.
        keys: may be dotted (`property.location.street`). The values are compared without regard to case, white space
            and the order of a list.
    """
    if not keys:
        return None
    values = [_normalized(_value_at(order.attributes, key)) for key in keys]
    if None in values or not any(values):
        return None
    material = _ORDERED.encode([order.account, *values])
    return int.from_bytes(blake2b(material, digest_size=8).digest(), "big", signed=True)


def fingerprint_of(unit: UnitOfWork) -> int | None:
    """The fingerprint with which the order is stored; None also where no policy of its account reads duplicates."""
    if not unit.account.index.reads_duplicates:
        return None
    return fingerprint(unit.aggregate.order, unit.account.rules.duplicate_keys)


def records(order: Order, others: Iterable[OrderAggregate], within: timedelta) -> list[dict[str, str]]:
    """`order.duplicates`: those of `others` that were opened within so long of `order`, in the order of opening."""
    own = _opening(order)
    near = [other for other in others if abs(_opening(other.order)[0] - own[0]) <= within]
    return [
        {
            "id": other.order.id,
            "phase": other.order.phase.value,
            "provider_status": other.order.provider_status or "",
            "opened_at": as_text(_opening(other.order)[0]),
            "came": "before" if _opening(other.order) < own else "after",
            "canceling": "yes" if other.live else "no",
        }
        for other in sorted(near, key=lambda other: _opening(other.order))
    ]


class NotLookedUpError(Exception):
    """A policy reads duplicates with a fingerprint for which nobody looked."""


@dataclass(slots=True)
class DuplicateGroups:
    """The orders that have one of the fingerprints that were looked up."""

    _groups: dict[tuple[str, int], dict[int, OrderAggregate]] = field(default_factory=dict)
    """(account, fingerprint) → order number → aggregate. Not the order's id, which a late event may change."""
    _marks: dict[int, int] = field(default_factory=dict)
    """Order number → fingerprint."""

    def open(self, account: str, marks: Iterable[int]) -> None:
        """Begin groups for these fingerprints: their orders are looked up."""
        for mark in marks:
            self._groups[account, mark] = {}

    def put(self, mark: int, number: int, aggregate: OrderAggregate) -> None:
        """Put an order into the group of its fingerprint, if there is that group."""
        group = self._groups.get((aggregate.order.account, mark))
        if group is not None:
            group[number] = aggregate
            self._marks[number] = mark

    def update(self, unit: UnitOfWork) -> None:
        """Move an order to the group of the fingerprint that it has now."""
        former = self._marks.pop(unit.number, None)
        if former is not None:
            del self._groups[unit.account.id, former][unit.number]
        mark = fingerprint_of(unit)
        if mark is not None:
            self.put(mark, unit.number, unit.aggregate)

    def others(self, unit: UnitOfWork) -> list[OrderAggregate]:
        """The duplicates of an order. Raises `NotLookedUpError`."""
        mark = fingerprint_of(unit)
        if mark is None:
            return []
        group = self._groups.get((unit.account.id, mark))
        if group is None:
            raise NotLookedUpError
        return [aggregate for number, aggregate in group.items() if number != unit.number]

    def find(self, unit: UnitOfWork, within: timedelta) -> list[dict[str, str]]:
        """See `PolicyContext.find_duplicates`. Raises `NotLookedUpError`."""
        return records(unit.aggregate.order, self.others(unit), within)


def _opening(order: Order) -> tuple[datetime, str]:
    """Sorts orders by their opening; of two that were opened in the same instant the lesser id comes first."""
    return (order.opened_at or _NEVER, order.id)


def _value_at(attributes: Any, key: str) -> Any:
    value = attributes
    for part in key.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def _normalized(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.split()).casefold()
    if isinstance(value, dict):
        return {key: _normalized(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return sorted((_normalized(item) for item in value), key=_ORDERED.encode)
    return value
