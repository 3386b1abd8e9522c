"""The orders of a trial: events are recorded as the ledger records them, without a database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from app.config.resolve import Account
from app.contract import Order
from app.core.aggregate import OrderAggregate
from app.core.commands import RecordEvents
from app.core.event import Event
from app.core.folding import Replay, replay
from app.core.history import History
from app.core.unit_of_work import UnitOfWork
from app.engine.identity import clash_text


@dataclass(slots=True)
class _Known:
    """One order, by whatever names."""

    names: set[str] = field(default_factory=set)
    stated: set[str] = field(default_factory=set)
    """The names by which webhooks speak of it."""
    events: list[Event] = field(default_factory=list)


class TrialOrders:
    """All orders of an account that webhooks have spoken of."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._known: list[_Known] = []
        self._logged: set[str] = set()

    def record(self, commands: Sequence[RecordEvents]) -> tuple[frozenset[str], str]:
        """Record a webhook: (ids of events that were known already, why it is refused as a whole, if it is)."""
        events = [event for command in commands for event in command.events]
        repeated = frozenset(event.id for event in events if event.id in self._logged)
        for command in commands:
            clash = self._clash(command)
            if clash:
                return frozenset(), clash
        for event in events:
            if event.id not in self._logged:
                self._logged.add(event.id)
                self._add(event)
        return repeated, ""

    def units(self, now: datetime) -> list[UnitOfWork]:
        """A unit of work for each order, in the order in which they became known."""
        replays = [replay(known.events) for known in self._known]
        return [unit_of(self._account, folded, now) for folded in replays if folded is not None]

    def _add(self, event: Event) -> None:
        names = {event.order, *event.facts.aliases}
        same = [known for known in self._known if known.names & names]
        keep = same[0] if same else _Known()
        for other in same[1:]:
            keep.names |= other.names
            keep.stated |= other.stated
            keep.events += other.events
            self._known.remove(other)
        if not same:
            self._known.append(keep)
        keep.names |= names
        keep.stated.add(event.order)
        keep.events.append(event)

    def _clash(self, command: RecordEvents) -> str:
        """Why the ledger would refuse the command: it gives one order two ids of one kind."""
        new = [event for event in command.events if event.id not in self._logged]
        names = {name for event in new for name in (event.order, *event.facts.aliases)}
        groups = [known.stated for known in self._known if known.names & names] + [{event.order} for event in new]
        ids: dict[str, str] = {}
        for group in groups:
            own = {kind: name for name in sorted(group) if (kind := self._account.handler.id_kind(name))}
            for kind, name in own.items():
                other = ids.setdefault(kind, name)
                if other not in group:
                    return clash_text(self._account.spec.id, other, name, sorted(names))
        return ""


def unit_of(account: Account, folded: Replay, now: datetime) -> UnitOfWork:
    """The unit of work of an order whose events were folded."""
    order = folded.aggregate.order
    history = History(order.account, order.id, folded.facts)
    return UnitOfWork(folded.aggregate, account.view, now, history=history, logged=_ids(folded.facts))


def unheard(account: Account, order: str, now: datetime) -> UnitOfWork:
    """The unit of work of an order of which no webhook has spoken."""
    return UnitOfWork(OrderAggregate(Order(account=account.spec.id, id=order)), account.view, now)


def _ids(events: Iterable[Event]) -> set[str]:
    return {event.id for event in events}
