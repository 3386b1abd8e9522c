"""A case as events are added to it, one after another as they become known.

A fact that is the latest is folded at once. One that comes late waits, with those that come after it, until somebody
looks at the case; then all are folded together, from the first place in the history that is new. That gives the same
case as folding one by one: of what lies between, only the open doubt depends, and it is settled by the last event that
made the order unknown or known. A snapshot may change that, so it is folded by itself; so may what became of a probe.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from app.contract import Order
from app.core.aggregate import PROBE_PREFIX, OrderAggregate, after_facts, apply, comes_late, is_fact
from app.core.cancellation import Cancellation
from app.core.event import Event
from app.core.history import History


@dataclass(slots=True)
class Folding:
    """A case, and what is to be folded into it."""

    _case: OrderAggregate
    history: History | None = field(default=None, kw_only=True)
    """Every fact of the order; it must be there before the first is added that `comes_late`."""
    _new: list[Event] = field(default_factory=list, init=False)
    """Facts that the history has not taken in yet."""
    _behind: list[Event] = field(default_factory=list, init=False)
    """Facts that the history has taken in, and the case has not."""

    @property
    def case(self) -> OrderAggregate:
        """The case after all that was added."""
        while self.is_behind:
            self.fold()
        return self._case

    @case.setter
    def case(self, case: OrderAggregate) -> None:
        self._new, self._behind = [], []
        self._case = case

    @property
    def live(self) -> tuple[Cancellation, ...]:
        """The live cancellations, which no fact changes by itself."""
        return self._case.live

    @property
    def latest(self) -> datetime | None:
        """When the latest of what the order is known by happened, what waits to be folded included."""
        moments = [event.occurred_at for event in (*self._new, *self._behind)]
        return max(moments if self._case.latest is None else [*moments, self._case.latest], default=None)

    @property
    def is_behind(self) -> bool:
        """Is there something to fold before the case can be seen?"""
        return bool(self._new or self._behind)

    def add(self, event: Event) -> Cancellation | None:
        """Add an event; returns the cancellation that it moved, if any."""
        if not is_fact(event):
            if event.type.startswith(PROBE_PREFIX):
                self._case = self.case
            self._case, moved = apply(self._case, event)
            return moved
        if self.history is None:
            self._case, _ = apply(self._case, event)
            return None
        if event.facts.snapshot:
            self._case = self.case
        self._new.append(event)
        if event.facts.snapshot:
            self._case = self.case
        return None

    def fold(self) -> bool:
        """Fold a slice of what waits; True if more does. Whoever must not be kept waiting pauses between two."""
        if self.history is None or not self.is_behind:
            return False
        if self._new:
            self.history.add(self._new)
            self._behind += self._new
            self._new = []
        if self.history.fold():
            return True
        self._case = after_facts(self._case, self.history.order, self.history.head, self._behind)
        self._behind = []
        return False


class Replay:
    """An order's part of the log, folded as the ledger did when it was recorded."""

    def __init__(self, first: Event) -> None:
        self._folding = Folding(OrderAggregate(Order(account=first.account, id=first.order)))
        self._facts: list[Event] = []
        self.last = first
        self.cancellations: dict[str, Cancellation] = {}
        self.add(first)

    @property
    def case(self) -> OrderAggregate:
        """The case after all of it."""
        return self._folding.case

    @property
    def facts(self) -> list[Event]:
        """What of it speaks of the order itself."""
        return self._facts

    def add(self, event: Event) -> None:
        """Add the next event of the log."""
        folding = self._folding
        if is_fact(event):
            if folding.history is None and comes_late(folding.case, event):
                folding.history = History(event.account, event.order, self._facts)
            self._facts.append(event)
        moved = folding.add(event)
        if moved is not None:
            self.cancellations[moved.id] = moved
        self.last = event

    def fold(self) -> bool:
        """See `Folding.fold`."""
        return self._folding.fold()


def replay(events: Iterable[Event]) -> Replay | None:
    """Fold events in the order of the log; None if there are none."""
    folded: Replay | None = None
    for event in events:
        if folded is None:
            folded = Replay(event)
        else:
            folded.add(event)
    return folded
