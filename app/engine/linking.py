"""Which order an entry is about: all its names lead to one, and orders that it shows to be the same are made one.

An order has one id of each of the provider's kinds (`Handler.id_kind`). What would give it two, by an alias that is
said to be unique and is not, is refused as a whole: nothing of it is recorded, and no order changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

from app.contract import Order, Source
from app.core.aggregate import OrderAggregate, is_fact, job_for
from app.core.commands import Command
from app.core.event import Event
from app.core.folding import Replay
from app.core.history import History
from app.core.order import needs_history
from app.core.unit_of_work import UnitOfWork
from app.runtime.ids import Ids
from app.runtime.time_slice import TimeSlice
from app.store import Name, Transaction


class NameClashError(Exception):
    """Two ids that the provider gave would be one order's. Nothing of the submission was recorded."""


class ClashesError(Exception):
    """Some entries of a batch are refused: place among the entries → why. The others can be recorded without them."""

    def __init__(self, refused: Mapping[int, NameClashError]) -> None:
        super().__init__(f"{len(refused)} entries name two orders as one")
        self.refused = refused


@dataclass(slots=True)
class Slot:
    """An order that the batch touches."""

    pk: int
    desk: UnitOfWork
    had_job: bool
    new_names: set[Name] = field(default_factory=set)
    changed: bool = False
    """It must be written although no event says so: it was merged, or time has changed its verdict."""
    weighed: bool = False
    """Policies have looked at it in this batch."""
    again: bool = False
    """It is to be looked at again at once."""
    moment: datetime | None = None
    """The latest time of what was folded or will be, while looking for what comes late."""
    merged: bool = False
    """It was another as well, and its case is to be made anew."""
    former: set[str] = field(default_factory=set)
    """The names of those that became one with it in this batch."""
    stated: set[str] = field(default_factory=set)
    """By which names the webhooks of this batch speak of it."""
    carried: frozenset[str] = frozenset()
    """The shared aliases that are stored of it."""


@dataclass(slots=True)
class Links:
    """The orders that a batch touches, by each of their names."""

    transaction: Transaction
    ids: Ids
    desk_of: Callable[[OrderAggregate], UnitOfWork]
    seen: frozenset[str]
    """Ids of events that are in the log already."""
    slots: dict[Name, Slot] = field(default_factory=dict)
    _named: dict[int, set[str]] = field(default_factory=dict)
    """Order number → the names that the provider gave it in the log, of those that were asked for."""
    _breather: TimeSlice = field(default_factory=TimeSlice)

    def take(self, cases: Mapping[Name, tuple[int, OrderAggregate]]) -> None:
        """Put what is stored into slots."""
        by_pk: dict[int, Slot] = {}
        for name, (pk, case) in cases.items():
            if pk not in by_pk:
                by_pk[pk] = self._slot(pk, case)
            self.slots[name] = by_pk[pk]

    async def link(self, entries: Sequence[Command]) -> None:
        """Give every entry its order. Raises `ClashesError` if some name two orders as one."""
        refused: dict[int, NameClashError] = {}
        for number, entry in enumerate(entries):
            names = names_of(entry, self.seen)
            known = list({id(slot): slot for name in names if (slot := self.slots.get(name))}.values())
            clash = await self._clash(entry, names, known)
            if clash is not None:
                refused[number] = clash
            else:
                await self._link(entry, names, known)
            await self._breather.pause()
        if refused:
            raise ClashesError(refused)
        for slot in {id(slot): slot for slot in self.slots.values() if slot.merged}.values():
            await self._replay(slot)

    async def load_history(self, entries: Sequence[Command]) -> None:
        """Fetch the history of orders for which something comes late, in this batch or against what is stored."""
        late: dict[int, Slot] = {}
        for entry in entries:
            slot = self.slots[entry.account, entry.order]
            for moment, snapshot in _moments(entry, self.seen, slot.moment):
                if slot.moment is not None and needs_history(slot.moment, moment, snapshot):
                    late[slot.pk] = slot
                if slot.moment is None or moment > slot.moment:
                    slot.moment = moment
            await self._breather.pause()
        wanted = [pk for pk, slot in late.items() if slot.desk.history is None]
        stored = [pk for pk in wanted if late[pk].desk.aggregate.order.version]
        found = await self.transaction.history(stored) if stored else {}
        for pk in wanted:
            order = late[pk].desk.aggregate.order
            facts = [event for event in found.get(pk, ()) if is_fact(event)]
            late[pk].desk.history = History(order.account, order.id, facts)

    def _slot(self, pk: int, case: OrderAggregate) -> Slot:
        moment = case.head[0] if case.head else None
        carried = frozenset(case.order.shared_aliases)
        return Slot(pk, self.desk_of(case), had_job=job_for(case) is not None, moment=moment, carried=carried)

    async def _link(self, entry: Command, names: Sequence[Name], known: list[Slot]) -> None:
        if not known:
            known = [self._slot(self.ids.next(), OrderAggregate(Order(account=entry.account, id=entry.order)))]
        keep, *drops = sorted(known, key=lambda slot: slot.pk)
        for drop in drops:
            await self._merge(keep, drop)
        for name in names:
            if name not in self.slots:
                keep.new_names.add(name)
                self.slots[name] = keep
        keep.stated.update(event.order for event in entry.facts() if event.source is Source.WEBHOOK)

    async def _clash(self, entry: Command, names: Sequence[Name], known: Sequence[Slot]) -> NameClashError | None:
        """What the entry would make one and the provider names apart."""
        told = [event for event in entry.facts() if event.id not in self.seen and event.source is Source.WEBHOOK]
        if len(known) < 2 and not any(_is_odd(slot, event) for slot in known for event in told):  # noqa: PLR2004
            return None
        unasked = [slot.pk for slot in known if slot.pk not in self._named]
        if unasked:
            # Once for each order: its whole log is read for it.
            self._named |= await self.transaction.provider_names(unasked)
        ids: dict[str, str] = {}
        groups = [self._named[slot.pk] | slot.stated for slot in known] + [{event.order} for event in told]
        for group in groups:
            # Two of one kind in one group were made one before, by whatever rule; that is past.
            own = {kind: name for name in sorted(group) if (kind := known[0].desk.account.handler.id_kind(name))}
            for kind, name in own.items():
                other = ids.setdefault(kind, name)
                if other not in group:
                    return NameClashError(_clash_in_words(entry.account, other, name, [each for _, each in names]))
        return None

    async def _merge(self, keep: Slot, drop: Slot) -> None:
        order = drop.desk.aggregate.order
        former = (await self.transaction.history([drop.pk]))[drop.pk]
        names = {*_all_names(order), *(name for event in former for name in _all_named(event))}
        await self.transaction.merge(keep.pk, drop.pk, sorted((order.account, name) for name in names))
        keep.had_job |= drop.had_job
        keep.changed = keep.merged = True
        keep.new_names |= drop.new_names
        keep.stated |= drop.stated
        keep.former |= {*drop.former, *_own_names(order)}
        keep.carried |= drop.carried
        self._named[keep.pk] |= self._named.pop(drop.pk)
        self.slots.update((name, keep) for name, slot in self.slots.items() if slot is drop)

    async def _replay(self, slot: Slot) -> None:
        """As a rebuild will: from the logs of all that became one, not from their cases (guarantee I8)."""
        log, breather = (await self.transaction.history([slot.pk]))[slot.pk], TimeSlice()
        if not log:
            return
        replayed = Replay(log[0])
        for event in log[1:]:
            replayed.add(event)
            await breather.pause()
        while replayed.fold():
            await breather.pause()
        slot.desk.aggregate = replayed.aggregate
        slot.desk.history = History(slot.desk.aggregate.order.account, slot.desk.aggregate.order.id, replayed.facts)


def names_of(entry: Command, seen: frozenset[str]) -> list[Name]:
    """The names that an entry uses.

    An event that is in the log already is dropped, and so must be what it names: read again under
    other settings, it may name more than it did.
    """
    names = {(entry.account, entry.order): None}
    for event in entry.facts():
        if event.id in seen:
            continue
        names[event.account, event.order] = None
        for alias in event.facts.aliases:
            names[event.account, alias] = None
    return list(names)


def _is_odd(slot: Slot, event: Event) -> bool:
    """Does a webhook call the order by an id that is not the one it has, of the same kind?"""
    order = slot.desk.aggregate.order
    if event.order == order.id and order.version:
        return False
    kind_of = slot.desk.account.handler.id_kind
    kind = kind_of(event.order)
    if kind is None:
        return False
    names = chain(slot.stated, slot.former, _own_names(order))
    return any(name != event.order and kind_of(name) == kind for name in names)


def clash_with(account: str, name: str) -> tuple[str, str]:
    """What the reason says of a webhook that was refused because it would make this order one with another."""
    return f"{_CLASH} {name!r} and ", f" and {name!r} of account {account!r} one, "


_CLASH = "it would make the orders"


def _clash_in_words(account: str, one: str, other: str, names: Sequence[str]) -> str:
    common = ", ".join(repr(name) for name in names if name not in (one, other)) or repr(one)
    return (
        f"{_CLASH} {one!r} and {other!r} of account {account!r} one, and the provider gave both as ids "
        f"(in common: {common}); a name that several orders may carry must be declared as a shared alias"
    )


def _own_names(order: Order) -> tuple[str, ...]:
    """The names that lead to the order; none for one that nobody but a caller spoke of."""
    return (order.id, *order.aliases) if order.version else ()


def _all_names(order: Order) -> tuple[str, ...]:
    return (order.id, *order.aliases, *order.shared_aliases)


def _all_named(event: Event) -> tuple[str, ...]:
    return (event.order, *event.facts.aliases, *event.facts.shared_aliases)


def _moments(entry: Command, seen: frozenset[str], latest: datetime | None) -> Iterable[tuple[datetime, bool]]:
    """When what the entry brings happened, and whether it is a snapshot."""
    facts = entry.facts(latest)
    if not facts:
        return ((entry.now, False),)
    return [(event.occurred_at, event.facts.snapshot) for event in facts if event.id not in seen]
