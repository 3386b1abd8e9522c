"""What the rows of a list have in common: one record for each list, the same for every database.

`where` gives the conditions that read the same on every database; each adds its own for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from app.core.event_types import EVENT_TYPES, POLICY_DECIDED, POLICY_PREFIX
from app.core.outbound.delivery import DeliveryState
from app.store import codec
from app.store.id_bounds import END, end_of_ids, first_id, receipt_bounds
from app.store.where import Where

Group = tuple[Any, ...]
"""The values of the first columns of an index."""
_DECISIONS = [type for type in EVENT_TYPES if type.startswith(POLICY_PREFIX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilter:
    """What the orders of a list have in common. Verdict and reason are as of the last change."""

    account: str | None = None
    phase: str | None = None
    cancelable: str | None = None
    reason: str | None = None
    closes_after: datetime | None = None
    closes_before: datetime | None = None
    opened_since: datetime | None = None
    opened_until: datetime | None = None
    text: str | None = None
    """How a name of the order begins: its id or an alias, or what follows the first colon in one."""

    @property
    def by_closing(self) -> bool:
        """Whether the list is ordered by closing time, the soonest first."""
        return (self.closes_after, self.closes_before) != (None, None)

    @property
    def by_opening(self) -> bool:
        """Whether the list is ordered by time of opening."""
        return not self.by_closing and (self.opened_since, self.opened_until) != (None, None)

    @property
    def by_time(self) -> bool:
        """Whether the list is ordered by one of these times; else it is by number."""
        return self.by_closing or self.by_opening

    @property
    def bounds(self) -> tuple[Group, Group]:
        """Between which positions of a list by time its orders are."""
        if self.by_closing:
            return _position(self.closes_after, -END), _position(self.closes_before, END)
        return _position(self.opened_since, -END), _position(self.opened_until, END)

    @property
    def of_verdict(self) -> bool:
        """Whether verdict, phase or reason are given."""
        return (self.cancelable, self.phase, self.reason) != (None, None, None)

    def has_group(self, group: Group) -> bool:
        """Whether orders of this verdict, phase and reason are wanted."""
        wanted = (self.cancelable, self.phase, self.reason)
        return all(value is None or value == own for value, own in zip(wanted, group, strict=True))

    def where(self, *, in_bounds: bool = False) -> Where:
        """The conditions, but for `text`; without those that the bounds stand for, if only these are read."""
        where = Where(account=self.account, cancelable=self.cancelable, phase=self.phase, reason=self.reason)
        if not (in_bounds and self.by_closing):
            where.add("closes_at >= ?", codec.micros_or_none(self.closes_after))
            where.add("closes_at < ?", codec.micros_or_none(self.closes_before))
        if not (in_bounds and self.by_opening):
            where.add("opened_at >= ?", codec.micros_or_none(self.opened_since))
            where.add("opened_at < ?", codec.micros_or_none(self.opened_until))
        return where


def _position(moment: datetime | None, default: int) -> Group:
    """The position before all rows of this time."""
    return (default if moment is None else codec.micros(moment), "", -END)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancellationFilter:
    """What the cancellations of a list have in common."""

    account: str | None = None
    order_pk: int | None = None
    state: str | None = None
    policy: str | None = None
    waiting: str | None = None
    batch: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def by_account(self) -> bool:
        """Whether the account tells most of them apart."""
        return self.account is not None and (self.order_pk, self.policy, self.batch) == (None, None, None)

    @property
    def of_groups(self) -> bool:
        """Whether account and state are all that is asked."""
        return self == CancellationFilter(account=self.account, state=self.state)

    def where(self) -> Where:
        """The conditions that any row tells, but for `waiting`."""
        where = Where(order_pk=self.order_pk, batch=self.batch, policy=self.policy)
        if not self.by_account:
            where.add("account = ?", self.account)
            where.add("state = ?", self.state)
        where.add("requested_at >= ?", codec.micros_or_none(self.since))
        where.add("requested_at < ?", codec.micros_or_none(self.until))
        return where

    def has_group(self, group: Group) -> bool:
        """Whether those of this account and state are wanted."""
        return self.state in (None, group[-1]) and (self.waiting is None or group[-1] == "scheduled")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """What the events of a list have in common."""

    account: str | None = None
    order_pk: int | None = None
    types: Sequence[str] = ()
    """Types with stars for any characters, of which an event needs one; () for all."""
    source: str | None = None
    policy: str | None = None
    """Only decisions of this policy."""
    receipt: int | None = None
    since: datetime | None = None
    """Received at this time or later."""
    until: datetime | None = None
    text: str | None = None

    @property
    def looks_into_decisions(self) -> bool:
        """Whether types of single decisions are wanted, which events with several decisions may have as well."""
        wanted = {type for type in _DECISIONS for glob in self.types if fnmatchcase(type, glob)}
        return bool(wanted) and POLICY_DECIDED not in wanted

    @property
    def stored_types(self) -> Sequence[str]:
        """Types of all events that the filter may have, as they are stored."""
        return (*self.types, POLICY_DECIDED) if self.looks_into_decisions else self.types

    @property
    def of_whole_log(self) -> bool:
        """Whether none of the indexes that lead to few events serves it: of orders, policies and receipts."""
        return (self.order_pk, self.policy, self.receipt) == (None, None, None)

    def where(self) -> Where:
        """The conditions on a row of the log, but for types, texts and what `of_whole_log` is about."""
        where = Where(account=self.account, source=self.source)
        where.add("received_at >= ?", codec.micros_or_none(self.since))
        where.add("received_at < ?", codec.micros_or_none(self.until))
        return where


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptFilter:
    """What the receipts of a list have in common."""

    account: str | None = None
    endpoint: str | None = None
    order_pk: int | None = None
    status: str | None = None
    reason: str | None = None
    """Contained in the reason, whatever the case."""
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    """Contained in the body, whatever the case."""

    @property
    def of_set_aside(self) -> bool:
        """Whether those of one status other than `accepted` are asked, which are few."""
        return self.status not in (None, "accepted")

    @property
    def by_index(self) -> bool:
        """Whether an index serves it: all of its rows are wanted, or they are of one order."""
        of_index = ReceiptFilter(account=self.account), ReceiptFilter(status=self.status)
        return self.order_pk is not None or (self != ALL_RECEIPTS and self in of_index and self.status != "accepted")

    @property
    def bounds(self) -> tuple[int, int]:
        """The first id that may be among them, and one above the last."""
        return receipt_bounds(self.since, self.until)

    def where(self) -> Where:
        """The conditions that a row tells, but for texts."""
        where = Where(account=self.account, endpoint=self.endpoint)
        if self.of_set_aside:
            where.add(SET_ASIDE, self.status)
        else:
            where.add("status = ?", self.status)
        where.add("received_at >= ?", codec.micros_or_none(self.since))
        where.add("received_at < ?", codec.micros_or_none(self.until))
        return where


SET_ASIDE = "status <> 'accepted' AND status = ?"
"""Literally the condition of the partial index on receipts that were not accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFilter:
    """What the attempts of a list have in common."""

    account: str | None = None
    order_pk: int | None = None
    cancellation: str | None = None
    kind: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    """Begun at this time or later."""
    until: datetime | None = None

    @property
    def by_index(self) -> bool:
        """Whether an index serves it, and no search."""
        return (self.order_pk, self.cancellation) != (None, None) or (self.kind, self.outcome) == (None, None)

    @property
    def bounds(self) -> tuple[int, int]:
        """The first id, and one above the last."""
        return first_id(self.since), end_of_ids(self.until)

    def where(self) -> Where:
        """The conditions that a row tells, but for the time."""
        where = Where(account=self.account, kind=self.kind, outcome=self.outcome, cancellation=self.cancellation)
        where.add("order_pk = ?", self.order_pk)
        return where


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """What the deliveries of a list have in common."""

    subscription: str
    state: DeliveryState | None = None
    types: Sequence[str] = ()
    """Types of messages with stars for any characters, of which a delivery needs one; () for all."""
    account: str | None = None
    order_pk: int | None = None
    since: datetime | None = None
    """The time of its message."""
    until: datetime | None = None

    @property
    def bounds(self) -> tuple[int, int]:
        """The first number of a message, and one above the last."""
        return first_id(self.since), end_of_ids(self.until)

    @property
    def by_group(self) -> bool:
        """Whether type and state are all that tells them apart, beside the time."""
        return (self.account, self.order_pk) == (None, None) and (self.state is not None or bool(self.types))

    @property
    def of_groups(self) -> bool:
        """Whether type and state are all that is asked of the subscription's."""
        return (self.account, self.order_pk, self.since, self.until) == (None,) * 4

    def has_group(self, group: Group) -> bool:
        """Whether those of this subscription, type and state are wanted."""
        _, type, state = group
        return self.state in (None, state) and (not self.types or any(fnmatchcase(type, glob) for glob in self.types))


ALL_ORDERS = OrderFilter()
ALL_CANCELLATIONS = CancellationFilter()
ALL_EVENTS = EventFilter()
ALL_RECEIPTS = ReceiptFilter()
ALL_ATTEMPTS = AttemptFilter()
