"""Which order a command is about: all names of an order lead to one, and orders shown to be the same are merged.

An order has one id of each of the provider's kinds (`Handler.id_kind`). A command that would give it two, by an alias
that is declared unique and is not, is refused as a whole: nothing of it is recorded, and no order changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any

from app.contract import Order, Source
from app.core.aggregate import OrderAggregate, is_fact
from app.core.commands import Command
from app.core.event import Event
from app.core.folding import Replay
from app.core.history import History
from app.core.order import needs_history
from app.engine.order_unit import OrderUnit
from app.runtime.ids import Ids
from app.runtime.time_slice import TimeSlice
from app.store import FoundOrder, Name, Transaction, codec


class NameClashError(Exception):
    """Two ids that the provider gave would become one order's. Nothing of what the caller sent was recorded."""


class RefusedCommandsError(Exception):
    """Some commands of a commit are refused: position → why. The others can be recorded without them."""

    def __init__(self, refused: Mapping[int, NameClashError]) -> None:
        super().__init__(f"{len(refused)} commands name two orders as one")
        self.refused = refused


@dataclass(slots=True)
class TouchedOrders:
    """The orders that a commit touches, by each of their names."""

    transaction: Transaction
    ids: Ids
    open: Callable[[int, OrderAggregate], OrderUnit]
    """Begins the unit of work of an order, given its number."""
    logged: frozenset[str]
    """Ids of events that are in the log already."""
    by_name: dict[Name, OrderUnit] = field(default_factory=dict)
    by_number: dict[int, OrderUnit] = field(default_factory=dict)
    stored: dict[int, FoundOrder] = field(default_factory=dict)
    """By number, those that the store has."""
    merged: set[int] = field(default_factory=set)
    """Numbers of the orders that were merged, both those that stay and those that do not."""
    _stated: dict[int, set[str]] = field(default_factory=dict)
    """Order number → the names that the provider gave it in the log, where they were asked for."""
    _slice: TimeSlice = field(default_factory=TimeSlice)

    async def add_stored(self, orders: Mapping[Name, FoundOrder]) -> None:
        """Begin the work on stored orders, given by name."""
        for name, found in orders.items():
            number = found.number
            unit = self.by_number.get(number)
            if unit is None:
                self.stored[number] = found
                unit = self._add(number, codec.read_aggregate(found.state))
                unit.told, order = found.told, unit.aggregate.order
                unit.listed = (order.id, order.phase, order.opened_at)
                await self._slice.pause()
            self.by_name[name] = unit

    async def resolve(self, commands: Sequence[Command[Any]], names_of_all: Sequence[Sequence[Name]]) -> None:
        """Find or begin the order of every command, whose names are given in turn.

        Raises `RefusedCommandsError` if some name two orders as one.
        """
        refused: dict[int, NameClashError] = {}
        for position, (command, all_names) in enumerate(zip(commands, names_of_all, strict=True)):
            facts = command.facts()
            new = [event for event in facts if event.id not in self.logged]
            names = all_names if len(new) == len(facts) else names_of(command, self.logged)
            units = list({unit.number: unit for name in names if (unit := self.by_name.get(name))}.values())
            told = [event for event in new if event.source is Source.WEBHOOK]
            clash = await self._clash(command, names, units, told) if _may_clash(units, told) else None
            if clash is not None:
                refused[position] = clash
            else:
                await self._resolve(command, names, units)
            if self._slice.is_over:
                await self._slice.pause()
        if refused:
            raise RefusedCommandsError(refused)
        for unit in self.by_number.values():
            if unit.merged:
                await self._replay(unit)

    async def load_history(self, commands: Sequence[Command[Any]]) -> None:
        """Load the history of orders that get late facts, late within this commit or against what is stored."""
        late: dict[int, OrderUnit] = {}
        for command in commands:
            unit = self.by_name[command.account, command.order]
            for moment, snapshot in _moments(command, self.logged, unit.newest_at):
                if unit.newest_at is not None and needs_history(unit.newest_at, moment, snapshot):
                    late[unit.number] = unit
                if unit.newest_at is None or moment > unit.newest_at:
                    unit.newest_at = moment
            if self._slice.is_over:
                await self._slice.pause()
        wanted = [unit for unit in late.values() if unit.history is None]
        stored = [unit.number for unit in wanted if unit.aggregate.order.version]
        logs = await self.transaction.history(stored) if stored else {}
        for unit in wanted:
            order = unit.aggregate.order
            facts = [event for event in logs.get(unit.number, ()) if is_fact(event)]
            unit.history = History(order.account, order.id, facts)

    def _add(self, number: int, aggregate: OrderAggregate) -> OrderUnit:
        unit = self.by_number[number] = self.open(number, aggregate)
        return unit

    async def _resolve(self, command: Command[Any], names: Sequence[Name], units: list[OrderUnit]) -> None:
        if not units:
            blank = OrderAggregate(Order(account=command.account, id=command.order))
            units = [self._add(self.ids.next(), blank)]
        keep, *drops = units if len(units) == 1 else sorted(units, key=lambda unit: unit.number)
        for drop in drops:
            await self._merge(keep, drop)
        for name in names:
            if name not in self.by_name:
                keep.new_names.add(name)
                self.by_name[name] = keep
        keep.stated_names.update(event.order for event in command.facts() if event.source is Source.WEBHOOK)

    async def _clash(
        self, command: Command[Any], names: Sequence[Name], units: Sequence[OrderUnit], told: Sequence[Event]
    ) -> NameClashError | None:
        """Why the command must be refused: it would merge orders that the provider names apart.

        `told` are its new events that came by webhook.
        """
        unasked = [unit.number for unit in units if unit.number not in self._stated]
        if unasked:
            # Once for each order: its whole log is read for it.
            self._stated |= await self.transaction.provider_names(unasked)
        ids: dict[str, str] = {}
        groups = [self._stated[unit.number] | unit.stated_names for unit in units] + [{event.order} for event in told]
        id_kind = units[0].account.handler.id_kind
        for group in groups:
            # Two of one kind in one group were merged before, by whatever rule; that is past.
            own = {kind: name for name in sorted(group) if (kind := id_kind(name))}
            for kind, name in own.items():
                other = ids.setdefault(kind, name)
                if other not in group:
                    return NameClashError(clash_text(command.account, other, name, [shared for _, shared in names]))
        return None

    async def _merge(self, keep: OrderUnit, drop: OrderUnit) -> None:
        order = drop.aggregate.order
        log = (await self.transaction.history([drop.number]))[drop.number]
        names = {*_all_names(order), *(name for event in log for name in _all_named(event))}
        await self.transaction.merge(keep.number, drop.number, sorted((order.account, name) for name in names))
        self.merged |= {keep.number, drop.number}
        keep.had_job |= drop.had_job
        keep.must_write = keep.merged = True
        keep.new_names |= drop.new_names
        keep.stated_names |= drop.stated_names
        keep.former_names |= {*drop.former_names, *_own_names(order)}
        keep.stored_shared |= drop.stored_shared
        self._stated[keep.number] |= self._stated.pop(drop.number)
        self.by_name.update((name, keep) for name, unit in self.by_name.items() if unit is drop)
        del self.by_number[drop.number]

    async def _replay(self, unit: OrderUnit) -> None:
        """Fold the logs of all orders that were merged, as a rebuild does (guarantee I8); not their aggregates."""
        log, time_slice = (await self.transaction.history([unit.number]))[unit.number], TimeSlice()
        if not log:
            return
        replayed = Replay(log[0])
        for event in log[1:]:
            replayed.add(event)
            await time_slice.pause()
        while replayed.fold():
            await time_slice.pause()
        unit.aggregate = replayed.aggregate
        unit.history = History(unit.aggregate.order.account, unit.aggregate.order.id, replayed.facts)


def names_of(command: Command[Any], logged: frozenset[str]) -> list[Name]:
    """The names that a command uses.

    An event that is in the log already is dropped, and so are the names in it: read again under other settings, it
    may name more than it did.
    """
    names = {(command.account, command.order): None}
    for event in command.facts():
        if event.id in logged:
            continue
        account = event.account
        names[account, event.order] = None
        for alias in event.facts.aliases:
            names[account, alias] = None
    return list(names)


def _may_clash(units: Sequence[OrderUnit], told: Sequence[Event]) -> bool:
    """Whether orders would be merged, or one be told by another id of a kind that it has."""
    return len(units) > 1 or any(_has_other_id(unit, event) for unit in units for event in told)


def _has_other_id(unit: OrderUnit, event: Event) -> bool:
    """Whether a webhook calls the order by another id of the same kind than the order has."""
    order = unit.aggregate.order
    if event.order == order.id and order.version:
        return False
    kind_of = unit.account.handler.id_kind
    kind = kind_of(event.order)
    if kind is None:
        return False
    names = chain(unit.stated_names, unit.former_names, _own_names(order))
    return any(name != event.order and kind_of(name) == kind for name in names)


def clash_with(account: str, name: str) -> tuple[str, str]:
    """Parts of the reason of a webhook that was refused because it would merge this order with another."""
    return f"{_CLASH} {name!r} and ", f" and {name!r} of account {account!r} one, "


_CLASH = "it would make the orders"


def clash_text(account: str, one: str, other: str, names: Sequence[str]) -> str:
    """Why a command is refused that names two orders as one; `names` are those that it uses."""
    common = ", ".join(repr(name) for name in names if name not in (one, other)) or repr(one)
    return (
        f"{_CLASH} {one!r} and {other!r} of account {account!r} one, and the provider gave both as ids "
        f"(in common: {common}); a name that several orders may carry must be declared as a shared alias"
    )


def _own_names(order: Order) -> tuple[str, ...]:
    """The names that lead to the order; none for one that only a caller named."""
    return (order.id, *order.aliases) if order.version else ()


def _all_names(order: Order) -> tuple[str, ...]:
    return (order.id, *order.aliases, *order.shared_aliases)


def _all_named(event: Event) -> tuple[str, ...]:
    return (event.order, *event.facts.aliases, *event.facts.shared_aliases)


def _moments(command: Command[Any], logged: frozenset[str], latest: datetime | None) -> Iterable[tuple[datetime, bool]]:
    """When each fact of the command happened, and whether it is a snapshot."""
    facts = command.facts(latest)
    if not facts:
        return ((command.now, False),)
    return [(event.occurred_at, event.facts.snapshot) for event in facts if event.id not in logged]
