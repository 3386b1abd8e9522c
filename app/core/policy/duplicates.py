"""What makes two orders the same to their provider: the same values under the keys that the account's rules name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import msgspec

from app.contract import Order
from app.core.aggregate import OrderAggregate
from app.kit.cel.order_view import as_text

_NEVER = datetime.max.replace(tzinfo=UTC)
_ORDERED = msgspec.json.Encoder(order="sorted")


def fingerprint(order: Order, keys: Sequence[str]) -> int | None:
    """A signed integer of 64 bits, the same for orders that are the same; None where a key is missing or all are empty.

    A key may be dotted (`property.location.street`). Case and white space do not tell two orders apart, nor does the
    order in which a list stands.
    """
    if not keys:
        return None
    values = [_plain(_at(order.attributes, key)) for key in keys]
    if None in values or not any(values):
        return None
    material = _ORDERED.encode([order.account, *values])
    return int.from_bytes(blake2b(material, digest_size=8).digest(), "big", signed=True)


def records(order: Order, others: Iterable[OrderAggregate], within: timedelta) -> list[dict[str, str]]:
    """`order.duplicates`: those of `others` that were opened so near to `order`, the first opened first."""
    mine = _place(order)
    near = [each for each in others if abs(_place(each.order)[0] - mine[0]) <= within]
    return [
        {
            "id": each.order.id,
            "phase": each.order.phase.value,
            "provider_status": each.order.provider_status or "",
            "opened_at": as_text(_place(each.order)[0]),
            "came": "before" if _place(each.order) < mine else "after",
            "canceling": "yes" if each.live else "no",
        }
        for each in sorted(near, key=lambda each: _place(each.order))
    ]


def _place(order: Order) -> tuple[datetime, str]:
    """Of two orders opened in the same instant the one with the lesser id came first."""
    return (order.opened_at or _NEVER, order.id)


def _at(attributes: Any, key: str) -> Any:
    found = attributes
    for part in key.split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(part)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.split()).casefold()
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return sorted((_plain(each) for each in value), key=_ORDERED.encode)
    return value
