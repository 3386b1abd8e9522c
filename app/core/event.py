"""Events: immutable facts in the log, and how they get their ids.

An event's id is a digest of what identifies it at its source, so that a redelivery has the id of
the first delivery and is dropped as a duplicate by the log itself. The first half is a digest of
account and order, the second of the event; the log is indexed by both halves in that order, which
keeps the events of one order side by side on disk.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from app.contract import Appointment, Facts, ParsedEvent, Phase, Source
from app.kit.phases import PHASE_RANK

_KEY_BYTES = 8
_MASK = (1 << 64) - 1
_HEX = frozenset("0123456789abcdef")
_PREFIX = "evt_"

NO_FACTS = Facts()
TICK = timedelta(microseconds=1)
"""The resolution of every time that is stored."""


class Event(Struct, frozen=True, gc=False):
    """One fact about one order; about an account as a whole where `order` is empty."""

    id: str
    account: str
    order: str
    """The name by which the event refers to the order; several names may lead to one order."""
    type: str
    occurred_at: datetime
    received_at: datetime
    source: Source
    facts: Facts = NO_FACTS
    data: dict[str, Any] = {}
    """What was decided, and why, in Rescind's own events, by the schema of the type (`app.core.event_types`)."""
    receipt: str | None = None


@lru_cache(maxsize=4096)
def order_key(account: str, order: str) -> int:
    """The digest under which an order's name is indexed: a signed integer of 64 bits."""
    # A name from a URL may hold lone surrogates: looking it up must not raise.
    return _key(f"{account}\0{order}".encode("utf-8", "surrogatepass"))


def event_id(account: str, order: str, type: str, key: bytes) -> str:
    """The id of the event that its source identifies by `key`: `evt_` and 32 hex digits."""
    # The second half covers the order's name too: when two orders are merged, no two of their events share an id.
    material = f"{order}\0{type}\0".encode("utf-8", "surrogatepass") + key
    digits = blake2b(material, digest_size=_KEY_BYTES).hexdigest()
    return f"{_PREFIX}{order_key(account, order) & _MASK:016x}{digits}"


def join_id(order: int, event: int) -> str:
    """The id made of an order's key and an event's."""
    return f"{_PREFIX}{order & _MASK:016x}{event & _MASK:016x}"


def split_id(id: str) -> tuple[int, int]:
    """The order's key and the event's key. Raises ValueError if `id` is not an event's."""
    digits = id.removeprefix(_PREFIX)
    if digits is id or len(digits) != 4 * _KEY_BYTES or not _HEX.issuperset(digits):
        raise ValueError(f"{id!r} is not the id of an event (evt_ and 32 hex digits)")
    raw = bytes.fromhex(digits)
    return _signed(raw[:_KEY_BYTES]), _signed(raw[_KEY_BYTES:])


def event_key(id: str) -> int:
    """The event's key of an event's id."""
    return int.from_bytes(bytes.fromhex(id[-2 * _KEY_BYTES :]), "big", signed=True)


def _key(material: bytes) -> int:
    return _signed(blake2b(material, digest_size=_KEY_BYTES).digest())


def _signed(raw: bytes) -> int:
    return int.from_bytes(raw, "big", signed=True)


def name_with_nul(parsed: ParsedEvent) -> str | None:
    """The order, the type or the alias of a parsed event that holds a NUL, which no column of PostgreSQL can."""
    facts = parsed.facts
    if "\0" not in parsed.order and "\0" not in parsed.type and not facts.aliases and not facts.shared_aliases:
        return None
    names = (parsed.order, parsed.type, *facts.aliases, *facts.shared_aliases)
    return next((name for name in names if "\0" in name), None)


def _without_nul(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if "\0" not in name)


def to_event(parsed: ParsedEvent, account: str, received_at: datetime, source: Source, receipt: str | None) -> Event:
    """Make an event of what a handler parsed.

    An event does not happen after its receipt: a provider's clock that runs ahead, or a year typed wrong, must not
    outrank every later event. A time without an offset may be wrong by hours, and would put an event that closes the
    window before a probe that it followed: the time of receipt is used instead.
    """
    facts, occurred_at = parsed.facts, parsed.occurred_at
    if source is Source.PROVIDER and name_with_nul(parsed) is not None:
        # The order has its name already, and can do without the others.
        facts = replace(facts, aliases=_without_nul(facts.aliases), shared_aliases=_without_nul(facts.shared_aliases))
    if occurred_at is not None and occurred_at.tzinfo is not UTC:
        # A local time may mean two instants: the earlier for what opens the window, the later for what may close it.
        occurred_at = _instant(occurred_at, latest=facts.phase is not Phase.OPEN)
    if facts.appointments or facts.opened_at is not None:
        facts = _in_utc(facts)
    return Event(
        id=event_id(account, parsed.order, parsed.type, parsed.key),
        account=account,
        order=parsed.order,
        type=parsed.type,
        occurred_at=received_at if occurred_at is None or occurred_at > received_at else occurred_at,
        received_at=received_at,
        source=source,
        facts=facts,
        receipt=receipt,
    )


def has_naive_time(parsed: ParsedEvent) -> bool:
    """Whether a parsed event states a time without an offset, which may mean any of several instants."""
    # Called for every event: it builds no list.
    facts = parsed.facts
    if _is_naive(parsed.occurred_at) or _is_naive(facts.opened_at):
        return True
    return any(_is_naive(booked.starts_at) or _is_naive(booked.ends_at) for booked in facts.appointments)


def _is_naive(time: datetime | None) -> bool:
    return time is not None and time.tzinfo is None


def _in_utc(facts: Facts) -> Facts:
    """The facts with every time in UTC; a time that cannot be told becomes None."""
    times = [facts.opened_at, *(time for booked in facts.appointments for time in (booked.starts_at, booked.ends_at))]
    if all(time is None or time.tzinfo is UTC for time in times):
        return facts
    appointments = tuple(
        Appointment(
            booked.id, booked.status, _instant(booked.starts_at, latest=False), _instant(booked.ends_at, latest=True)
        )
        for booked in facts.appointments
    )
    opened_at, unreadable = _instant(facts.opened_at, latest=True), facts.unreadable
    if facts.opened_at is not None and opened_at is None:
        unreadable = (*unreadable, "opened_at")
    return replace(facts, opened_at=opened_at, appointments=appointments, unreadable=unreadable)


def _instant(time: datetime | None, *, latest: bool) -> datetime | None:
    """The instant in UTC; None without an offset. If a local time may mean two, the earlier or the `latest`."""
    if time is None or time.tzinfo is None:
        return None
    readings = [time.replace(fold=fold).astimezone(UTC) for fold in (0, 1)]
    return max(readings) if latest else min(readings)


def not_before(event: Event, latest: datetime | None) -> Event:
    """The event, received later than `latest`, the time of the order's latest event so far.

    Times of receipt of an order never decrease, although the clock may be set back: an event whose source states no
    time would be folded as older than what it ended. Two ticks, so that a probe that was sent after `latest`
    (`asked_at`) still comes before what is received after it was sent.
    """
    if latest is None or event.received_at >= latest:
        return event
    received_at = latest + 2 * TICK
    stated = event.occurred_at != event.received_at
    return replace(event, received_at=received_at, occurred_at=event.occurred_at if stated else received_at)


def internal_event(
    account: str, order: str, type: str, key: str, now: datetime, source: Source, data: Struct | dict[str, Any]
) -> Event:
    """An event of Rescind's own, which states no facts of the order; `order` may be empty.

    `data` is of the schema of its type (`app.core.event_types`).
    """
    return Event(
        id=event_id(account, order, type, key.encode()),
        account=account,
        order=order,
        type=type,
        occurred_at=now,
        received_at=now,
        source=source,
        data=to_builtins(data),
    )


def fold_key(event: Event) -> tuple[datetime, int, str]:
    """The position of an event in its order's history, whenever it arrived.

    Of two events at the same instant the more advanced phase comes later: to refuse a cancel that might have worked is
    better than to send one in vain.
    """
    return (event.occurred_at, PHASE_RANK[event.facts.phase], event.id)
