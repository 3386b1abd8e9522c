"""What expressions see of an order: a documented view that stays as it is whatever the code looks like inside.

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

**What a policy's condition sees besides** (`POLICY`):

| name | type | |
|---|---|---|
| `order.tags` | list of strings | what `rescind orders tag` put on the order |
| `order.verdict.cancelable` | string | `yes`, `no`, `unknown` |
| `order.verdict.reason`, `order.verdict.explanation` | string | the rule's code, and its sentence |
| `order.verdict.evidence` | list of strings | ids of events |
| `order.verdict.changes_at` | timestamp | not known where no time changes it |
| `order.verdict.as_of` | timestamp | |
| `order.duplicates` | list of records | the other orders that are the same to the provider; see below |
| `event.id`, `event.type`, `event.source` | string | the event that woke the policy |
| `event.occurred_at`, `event.received_at` | timestamp | |

A duplicate has `id`, `phase`, `provider_status`, `opened_at`, `came` (`before` or `after` this order), and `canceling`
(`yes` or `no`: whether a cancellation of it is under way).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Any

from app.contract import Appointment, Cancelable, Order, Phase, Source, Verdict
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
    "order.appointments": (Kind.RECORDS, lambda order: [_record(each) for each in order.appointments]),
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
    """What the names of `ORDER` stand for: those in `names`, and `now`. What is not known is left out."""
    values: dict[str, Any] = {"now": now}
    for name, read in _readers(names):
        value = read(order)
        if value is not None:
            values[name] = value
    return values


def reader_of(name: str) -> Reader | None:
    """How a name of `ORDER` is read of an order; None if it is no such name."""
    found = _ORDER.get(name)
    return found[1] if found else None


def memo_readers(names: frozenset[str]) -> tuple[Reader, ...] | None:
    """How `names` are read, if what they stand for takes few values, and can be compared; else None."""
    return tuple(_FEW[name] for name in sorted(names)) if names <= _FEW.keys() else None


@lru_cache(maxsize=1024)
def _readers(names: frozenset[str]) -> tuple[tuple[str, Reader], ...]:
    return tuple((name, read) for name, (_, read) in _ORDER.items() if name in names)


_FEW: Mapping[str, Reader] = {
    "account": lambda order: order.account,
    "order.account": lambda order: order.account,
    "order.phase": lambda order: order.phase,
    "order.provider_status": lambda order: order.provider_status,
    "order.appointments": lambda order: order.appointments,
}


_POLICY: Mapping[str, Kind] = {
    "order.tags": Kind.STRINGS,
    "order.verdict.cancelable": Kind.STRING,
    "order.verdict.reason": Kind.STRING,
    "order.verdict.explanation": Kind.STRING,
    "order.verdict.evidence": Kind.STRINGS,
    "order.verdict.changes_at": Kind.TIMESTAMP,
    "order.verdict.as_of": Kind.TIMESTAMP,
    "order.duplicates": Kind.RECORDS,
    "event.id": Kind.STRING,
    "event.type": Kind.STRING,
    "event.source": Kind.STRING,
    "event.occurred_at": Kind.TIMESTAMP,
    "event.received_at": Kind.TIMESTAMP,
}
_DUPLICATE_KEYS = ("id", "phase", "provider_status", "opened_at", "came", "canceling")
POLICY = Scope.of(
    {**dict(ORDER.names), **_POLICY},
    {*_APPOINTMENT_KEYS, *_DUPLICATE_KEYS},
    {
        **_WORDS,
        "order.verdict.cancelable": [each.value for each in Cancelable],
        "event.source": [each.value for each in Source],
        ".phase": [phase.value for phase in Phase],
        ".came": ("before", "after"),
        ".canceling": ("yes", "no"),
    },
)


NOT_OF_THE_ORDER = frozenset(_POLICY)
"""The names of `POLICY` that are not those of `ORDER`."""


def policy_values(
    names: Iterable[str],
    tags: Sequence[str],
    verdict: Verdict,
    as_of: datetime,
    duplicates: list[dict[str, str]],
    event: object | None,
) -> dict[str, Any]:
    """What `names`, which `POLICY` has and `ORDER` has not, stand for."""
    values: dict[str, Any] = {}
    for name in names:
        if name == "order.tags":
            value: Any = list(tags)
        elif name == "order.duplicates":
            value = duplicates
        elif name == "order.verdict.as_of":
            value = as_of
        else:
            # Dotted alike: `order.verdict.reason` is the verdict's, `event.type` the event's.
            owner = event if name.startswith("event.") else verdict
            value = None if owner is None else _plain(getattr(owner, name.rpartition(".")[2]))
        if value is not None:
            values[name] = value
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def _record(appointment: Appointment) -> dict[str, str]:
    record = {"id": appointment.id, "status": appointment.status}
    if appointment.starts_at is not None:
        record["starts_at"] = as_text(appointment.starts_at)
    if appointment.ends_at is not None:
        record["ends_at"] = as_text(appointment.ends_at)
    return record


def as_text(moment: datetime) -> str:
    """A time as JSON has it."""
    return moment.isoformat().replace("+00:00", "Z")
