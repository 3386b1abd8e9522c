"""The names by which expressions read an order: a documented interface, independent of how orders are stored.

**What a condition sees** (`ORDER`):

| name | type | |
|---|---|---|
| `order.account`, `account` | string | |
| `order.id` | string | |
| `order.aliases` | list of strings | unique and shared ones |
| `order.phase` | string | `open`, `in_progress`, `completed`, `canceled`, `unknown` |
| `order.provider_status` | string | the provider's own word; `""` where none was named yet |
| `order.opened_at`, `order.last_event_at` | timestamp | known once an event is, but for an unreadable opening |
| `order.changed_at` | timestamp | when an event last said something else than was known |
| `order.appointments` | list of records | each with `id`, `status` and, where known, `starts_at` and `ends_at` |
| `order.attributes` | map | the provider's own fields, as JSON holds them: times and money are strings |
| `order.version` | int | |
| `now` | timestamp | |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from app.contract import Appointment, Order, Phase
from app.kit.cel.expression import Kind, Scope

_ORDER: Mapping[str, tuple[Kind, Callable[[Order], Any]]] = {
    "order.account": (Kind.STRING, lambda order: order.account),
    "order.id": (Kind.STRING, lambda order: order.id),
    "order.aliases": (Kind.STRINGS, lambda order: sorted({*order.aliases, *order.shared_aliases})),
    "order.phase": (Kind.STRING, lambda order: order.phase.value),
    "order.provider_status": (Kind.STRING, lambda order: order.provider_status or ""),
    "order.opened_at": (Kind.TIMESTAMP, lambda order: order.opened_at),
    "order.last_event_at": (Kind.TIMESTAMP, lambda order: order.last_event_at),
    "order.changed_at": (Kind.TIMESTAMP, lambda order: order.changed_at or order.last_event_at),
    "order.appointments": (Kind.RECORDS, lambda order: [_record(appointment) for appointment in order.appointments]),
    "order.attributes": (Kind.MAP, lambda order: order.attributes),
    "order.version": (Kind.INT, lambda order: order.version),
    "account": (Kind.STRING, lambda order: order.account),
}
_APPOINTMENT_KEYS = ("id", "status", "starts_at", "ends_at")
_WORDS = {"order.phase": [phase.value for phase in Phase]}
ORDER = Scope.of(
    {"now": Kind.TIMESTAMP, **{name: kind for name, (kind, _) in _ORDER.items()}}, _APPOINTMENT_KEYS, _WORDS
)


Reader = Callable[[Order], Any]


def order_values(order: Order, now: datetime, names: frozenset[str] = frozenset(_ORDER)) -> dict[str, Any]:
    """The values of `now` and of those names of `ORDER` that are in `names`. What is not known is left out."""
    values: dict[str, Any] = {"now": now}
    for name, read in _readers(names):
        value = read(order)
        if value is not None:
            values[name] = value
    return values


def reader_of(name: str) -> Reader | None:
    """The function that reads a name of `ORDER` from an order; None if there is no such name."""
    row = _ORDER.get(name)
    return row[1] if row else None


@lru_cache(maxsize=1024)
def _readers(names: frozenset[str]) -> tuple[tuple[str, Reader], ...]:
    return tuple((name, read) for name, (_, read) in _ORDER.items() if name in names)


def _record(appointment: Appointment) -> dict[str, str]:
    record = {"id": appointment.id, "status": appointment.status}
    if appointment.starts_at is not None:
        record["starts_at"] = as_text(appointment.starts_at)
    if appointment.ends_at is not None:
        record["ends_at"] = as_text(appointment.ends_at)
    return record


def as_text(moment: datetime) -> str:
    """A time as in JSON."""
    return moment.isoformat().replace("+00:00", "Z")
