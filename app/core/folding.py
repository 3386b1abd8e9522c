"""An order's aggregate as events are added to it, one after another as they become known.

A fact that is the latest is folded at once. A late fact waits, with those after it, until somebody reads the
aggregate; then all are folded together, from the first place in the history that changed. The result is the same as
folding them one by one: only the pending probe depends on the states between, and the last event that made the order
unknown or known determines it. A snapshot may change that, so it is folded by itself; so is the result of a probe.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from app.contract import Order
from app.core.aggregate import OrderAggregate, after_facts, apply, comes_late, is_fact
from app.core.cancellation import Cancellation
from app.core.event import Event
from app.core.event_types import PROBE_PREFIX
from app.core.history import History


class _Unfolded(Struct, kw_only=True):
    # Structs, as one is made for every order of a commit: a dataclass of as many fields takes four times as long.
    history: History | None = None
    """All facts of the order; required before a fact that `comes_late` is added."""
    _new: list[Event] = []
    """Facts that the history has not taken in yet."""
    _behind: list[Event] = []
    """Facts that the history has taken in, and the aggregate has not."""


class Folding(_Unfolded):
    """An aggregate, and the events still to be folded into it."""

    _aggregate: OrderAggregate

    @property
    def aggregate(self) -> OrderAggregate:
        """The aggregate after all events that were added."""
        while self._new or self._behind:
            self.fold()
        return self._aggregate

    @aggregate.setter
    def aggregate(self, aggregate: OrderAggregate) -> None:
        self._new, self._behind = [], []
        self._aggregate = aggregate

    @property
    def live(self) -> tuple[Cancellation, ...]:
        """The live cancellations; facts alone do not change them."""
        return self._aggregate.live

    @property
    def latest(self) -> datetime | None:
        """When the latest fact of the order happened, facts that wait to be folded included."""
        moments = [event.occurred_at for event in (*self._new, *self._behind)]
        return max(moments if self._aggregate.latest is None else [*moments, self._aggregate.latest], default=None)

    @property
    def is_behind(self) -> bool:
        """Whether facts must be folded before the aggregate can be read."""
        return bool(self._new or self._behind)

    def add(self, event: Event) -> Cancellation | None:
        """Add an event; returns the cancellation that it moved, if any."""
        if not is_fact(event):
            if event.type.startswith(PROBE_PREFIX):
                self._aggregate = self.aggregate
            self._aggregate, moved = apply(self._aggregate, event)
            return moved
        if self.history is None:
            self._aggregate, _ = apply(self._aggregate, event)
            return None
        if event.facts.snapshot:
            self._aggregate = self.aggregate
        self._new.append(event)
        if event.facts.snapshot:
            self._aggregate = self.aggregate
        return None

    def fold(self) -> bool:
        """Fold one slice of the waiting facts; returns True if more wait (pause between slices on the event loop)."""
        if self.history is None or not self.is_behind:
            return False
        if self._new:
            self.history.add(self._new)
            self._behind += self._new
            self._new = []
        if self.history.fold():
            return True
        self._aggregate = after_facts(self._aggregate, self.history.order, self.history.head, self._behind)
        self._behind = []
        return False


class Replay:
    """Folds an order's part of the log the way the ledger did when recording it."""

    def __init__(self, first: Event) -> None:
        self._folding = Folding(OrderAggregate(Order(account=first.account, id=first.order)))
        self._facts: list[Event] = []
        self.last = first
        self.cancellations: dict[str, Cancellation] = {}
        self.add(first)

    @property
    def aggregate(self) -> OrderAggregate:
        """The aggregate after all events that were added."""
        return self._folding.aggregate

    @property
    def facts(self) -> list[Event]:
        """The events that speak of the order itself."""
        return self._facts

    def add(self, event: Event) -> None:
        """Add the next event of the log."""
        folding = self._folding
        if is_fact(event):
            if folding.history is None and comes_late(folding.aggregate, event):
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
    """Fold events in log order; None if there are none."""
    folded: Replay | None = None
    for event in events:
        if folded is None:
            folded = Replay(event)
        else:
            folded.add(event)
    return folded
