"""What the tests of the core share: moments, facts, a provider small enough to reason about, and aggregates of a log.

The provider cancels orders that are open, unless an appointment starts within the hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as altered
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import msgspec

from app.contract import (
    Appointment,
    BaseConfig,
    Cancelable,
    Facts,
    Handler,
    Limits,
    Order,
    Phase,
    Rules,
    Source,
    Verdict,
)
from app.core import aggregate as aggregates
from app.core import order as orders
from app.core.aggregate import OrderAggregate, is_fact
from app.core.event import Event, event_id
from app.core.policy.model import Mode, Policy, make

ACCOUNT = "acme"
ORDER = "order-1"
CANCELLATION = "can-1"
T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CUTOFF_S = 3600.0
LEASE_S = 60.0


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def fact(
    key: str, when: float, facts: Facts, *, order: str = ORDER, heard: float | None = None, type: str = "order.updated"
) -> Event:
    """An event that happened at `when` and was heard of at `heard`, both in seconds after T0."""
    return Event(
        id=event_id(ACCOUNT, order, type, key.encode()),
        account=ACCOUNT,
        order=order,
        type=type,
        occurred_at=at(when),
        received_at=at(when if heard is None else heard),
        source=Source.PROVIDER if facts.snapshot else Source.WEBHOOK,
        facts=facts,
    )


def phase(key: str, when: float, phase: Phase, *, snapshot: bool = False, heard: float | None = None) -> Event:
    return fact(key, when, Facts(phase=phase, snapshot=snapshot), heard=heard)


def decoded(event: Event) -> Event:
    """The event as it comes back out of the log."""
    return msgspec.json.decode(msgspec.json.encode(event), type=Event)


# -- The provider ----------------------------------------------------------------------------


class SmallRules(Rules):
    cutoff_s: float = CUTOFF_S


def verdict(order: Order, rules: SmallRules, now: datetime) -> Verdict:
    if order.phase is Phase.UNKNOWN:
        return Verdict(Cancelable.UNKNOWN, "standing_unknown", "Nobody knows.", order.evidence("phase"))
    if order.phase is not Phase.OPEN:
        return Verdict(Cancelable.NO, order.phase.value, "It is no longer open.", order.evidence("phase"))
    starts = [each.starts_at for each in order.appointments if each.starts_at is not None]
    evidence = order.evidence("phase", "appointments")
    if not starts:
        return Verdict(Cancelable.YES, "open", "It is open.", evidence)
    closes_at = min(starts) - timedelta(seconds=rules.cutoff_s)
    if closes_at <= now:
        return Verdict(Cancelable.NO, "too_close", "The appointment is too close.", order.evidence("appointments"))
    return Verdict(Cancelable.YES, "open", "It is open.", evidence, closes_at)


def _never(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("the core performs no call")


def _nothing(*_: Any, **__: Any) -> None:
    return None


PROBED = Handler(
    name="small",
    title="Small",
    docs=(),
    config=BaseConfig,
    rules=SmallRules,
    limits=Limits(),
    verify=_never,
    parse=_never,
    verdict=verdict,
    check=_nothing,
    cancel=_never,
    probe=_never,
)
"""Can be probed; its cancel is not idempotent."""
BLIND = altered(PROBED, probe=None)
IDEMPOTENT = altered(PROBED, cancel_is_idempotent=True)


def appointment(starts: float, id: str = "a") -> Appointment:
    return Appointment(id, "booked", at(starts))


def policy_of(id: str = "p", when: str = "order.phase == 'open'", **more: Any) -> Policy:
    """A policy that enforces."""
    return make(id=id, when=when, **{"reason": "because", "mode": Mode.ENFORCE, **more})


def rebuilt(log: Sequence[Event]) -> OrderAggregate:
    """The aggregate made from the log alone, as it is read back (guarantee I8)."""
    aggregate, facts = OrderAggregate(Order(ACCOUNT, ORDER)), list[Event]()
    for event in map(decoded, log):
        aggregate = one_by_one(aggregate, event, facts)
        if is_fact(event):
            facts.append(event)
    return aggregate


def one_by_one(aggregate: OrderAggregate, event: Event, facts: Sequence[Event]) -> OrderAggregate:
    """The aggregate after `event`; a late one has the whole log folded, which is the reference for quicker ways."""
    if not is_fact(event) or not aggregates.comes_late(aggregate, event):
        return aggregates.apply(aggregate, event)[0]
    state, head = orders.fold(ACCOUNT, ORDER, [*facts, event])
    return aggregates.after_facts(aggregate, state, head, (event,))
