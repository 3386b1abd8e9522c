"""The fold: an order is made of its events.

The state is a pure function of the *set* of events (guarantee I2). Events are applied by `fold_key`, which is when they
happened and not when they arrived; each replaces what was known before. An event that is the latest so far is applied
to the current state; any other makes the ledger fold the order's history again. The fold never raises: an event that
contradicts a final phase is kept as an anomaly.

A probe's snapshot is the exception: it is timed by this machine's clock, and webhooks by the provider's. A webhook that
was received after the probe was sent may be newer although its time says otherwise. Within `SKEW_MAX_S` it counts as
newer if its phase is more advanced: it is better to refuse a cancel that might have worked than to send one after the
window was known to be closed (guarantee I3).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial

from app.contract import Appointment, Facts, Order, Phase, Source
from app.core.event import Event, fold_key
from app.kit.phases import PHASE_RANK

ANOMALIES_MAX = 16
SHARED_ALIASES_MAX = 100
"""Shared aliases that an order shows, in alphabetical order; look-ups find all of them."""
SKEW_MAX_S = 120.0
"""How far a provider's clock may be behind this machine's."""
_SKEW = timedelta(seconds=SKEW_MAX_S)

FoldKey = tuple[datetime, int, str]


def apply(order: Order, event: Event) -> Order:
    """The order after one more event, which must come after all events that were applied before."""
    facts = event.facts
    sources = dict(order.sources)
    phase = _phase_after(order, facts)
    anomalies = order.anomalies
    if phase is None:
        phase = order.phase
        if facts.phase not in (None, Phase.UNKNOWN, order.phase):
            anomalies = (*anomalies, event.id)[-ANOMALIES_MAX:]
    else:
        sources["phase"] = event.id
    status = order.provider_status
    if facts.provider_status is not None:
        status = facts.provider_status
        sources["provider_status"] = event.id
    appointments = order.appointments
    if facts.appointments or facts.appointments_complete:
        appointments = _appointments_after(order.appointments, facts)
        sources["appointments"] = event.id
    attributes = order.attributes
    if facts.attributes:
        attributes = {**order.attributes, **facts.attributes}
        sources["attributes"] = event.id
    same = (
        (phase, status) == (order.phase, order.provider_status)
        and (appointments is order.appointments or appointments == order.appointments)
        and (attributes is order.attributes or attributes == order.attributes)
    )
    return Order(
        account=order.account,
        id=order.id if order.version else event.order,
        aliases=_names_after(order, event),
        phase=phase,
        provider_status=status,
        opened_at=_opened_at(order, event),
        last_event_at=event.occurred_at,
        changed_at=order.changed_at if same and order.version else event.occurred_at,
        appointments=appointments,
        attributes=attributes,
        version=order.version + 1,
        sources=sources,
        anomalies=anomalies,
        shared_aliases=_shared_after(order, facts) if facts.shared_aliases else order.shared_aliases,
    )


def fold(account: str, order: str, events: Iterable[Event]) -> tuple[Order, FoldKey | None]:
    """The order made of `events`, given in any order without duplicates, and the key of the last one."""
    state = Order(account=account, id=order)
    in_turn = sorted(events, key=fold_key)
    for event in placed(in_turn):
        state = apply(state, event)
    return state, fold_key(in_turn[-1]) if in_turn else None


def needs_history(latest: datetime, moment: datetime, snapshot: bool) -> bool:
    """Whether an event at `moment` must be folded with the order's history, whose last event was at `latest`.

    The event may come before known ones; and known webhooks may outrank a snapshot, if they are within the skew.
    """
    return moment - latest <= _SKEW if snapshot else moment <= latest


def placed(in_turn: Iterable[Event]) -> list[Event]:
    """The events in fold order, given in the order in which they happened: those that outrank a snapshot follow it."""
    sequence: list[Event] = []
    for event in in_turn:
        place(sequence, event)
    return sequence


def place(sequence: list[Event], event: Event) -> int:
    """Insert an event, later than all in `sequence`, where it is folded; returns the first position that changed."""
    sequence.append(event)
    start = last = len(sequence) - 1
    if not event.facts.snapshot or event.source is not Source.PROVIDER:
        return last
    # A webhook is placed after a snapshot that is newer by the skew at most: events older than two skews cannot
    # outrank this one.
    while start and event.occurred_at - sequence[start - 1].occurred_at <= 2 * _SKEW:
        start -= 1
    outranks = partial(_outranks, snapshot=event)
    first = next((number for number in range(start, last) if outranks(sequence[number])), last)
    sequence[first:] = sorted(sequence[first:], key=outranks)
    return first


def _outranks(event: Event, snapshot: Event) -> bool:
    asked_at, phase = snapshot.occurred_at, snapshot.facts.phase
    return (
        event.source is Source.WEBHOOK
        and not event.facts.snapshot
        and event.received_at > asked_at
        and asked_at - event.occurred_at <= _SKEW
        and event.facts.phase is not None
        and PHASE_RANK[event.facts.phase] > PHASE_RANK[phase]
    )


def _phase_after(order: Order, facts: Facts) -> Phase | None:
    """The phase that `facts` set; None if they leave it as it is."""
    if facts.phase is None:
        return None
    if facts.snapshot:
        return facts.phase
    if order.phase is Phase.CANCELED:
        return None
    if order.phase is Phase.COMPLETED and facts.phase is not Phase.CANCELED:
        return None
    return facts.phase


def _opened_at(order: Order, event: Event) -> datetime | None:
    """When the order was opened: as stated last; else when its first event happened, unless that was unreadable."""
    stated = event.facts.opened_at or order.opened_at
    if stated is not None or order.version or "opened_at" in event.facts.unreadable:
        return stated
    return event.occurred_at


def _appointments_after(before: tuple[Appointment, ...], facts: Facts) -> tuple[Appointment, ...]:
    by_id = {} if facts.appointments_complete else {appointment.id: appointment for appointment in before}
    by_id.update((appointment.id, appointment) for appointment in facts.appointments)
    return tuple(by_id[id] for id in sorted(by_id))


def _names_after(order: Order, event: Event) -> tuple[str, ...]:
    if not order.version:
        return tuple(sorted(set(event.facts.aliases) - {event.order})) if event.facts.aliases else ()
    before = order.aliases
    new = {name for name in (event.order, *event.facts.aliases) if name != order.id and not _holds(before, name)}
    if not new:
        return before
    # An order may have thousands of names: they are not sorted again for each new one.
    names = list(before)
    for name in new:
        insort(names, name)
    return tuple(names)


def _holds(names: tuple[str, ...], name: str) -> bool:
    place = bisect_left(names, name)
    return place < len(names) and names[place] == name


def _shared_after(order: Order, facts: Facts) -> tuple[str, ...]:
    return tuple(sorted({*order.shared_aliases, *facts.shared_aliases})[:SHARED_ALIASES_MAX])
