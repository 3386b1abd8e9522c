"""An order's facts in fold order, and their fold, which is done when somebody reads it.

A late fact is placed before later ones, and all that follow it must be folded again. That is done once for all facts
that came together, from a state before the earliest new one: the state after each `STRIDE` facts is kept. A fact that
is the latest is folded onto the current state.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from copy import copy

from app.contract import Order
from app.core import order as orders
from app.core.event import Event, fold_key
from app.core.order import FoldKey

STRIDE = 64
SLICE = 512
"""Facts folded in one go: a few milliseconds of work."""


class History:
    """Facts of one order, without repeats."""

    __slots__ = ("_folded", "_keys", "_placed", "_state", "_states", "_turn")

    def __init__(self, account: str, order: str, facts: Iterable[Event] = ()) -> None:
        self._turn: list[Event] = sorted(facts, key=fold_key)
        """In the order in which they happened."""
        self._keys: list[FoldKey] = [fold_key(event) for event in self._turn]
        self._placed = orders.placed(self._turn)
        """In fold order."""
        self._state = Order(account=account, id=order)
        """After the first `_folded` of these."""
        self._states = [self._state]
        """After 0, `STRIDE`, 2 x `STRIDE` … of these."""
        self._folded = 0

    @property
    def head(self) -> FoldKey | None:
        """The fold key of the latest fact."""
        return self._keys[-1] if self._keys else None

    @property
    def order(self) -> Order:
        """The order after all facts."""
        while self.fold():
            pass
        return self._state

    def copy(self) -> History:
        """A copy; adding to it does not change the original."""
        other = copy(self)
        for name in ("_turn", "_keys", "_placed", "_states"):
            setattr(other, name, list(getattr(self, name)))
        return other

    def add(self, facts: Sequence[Event]) -> None:
        """Add facts that are not there yet, in any order."""
        added = sorted(facts, key=fold_key)
        if added and self._keys and fold_key(added[0]) < self._keys[-1]:
            for event in added:
                at = bisect_right(self._keys, fold_key(event))
                self._keys.insert(at, fold_key(event))
                self._turn.insert(at, event)
            former, self._placed = self._placed, orders.placed(self._turn)
            both = enumerate(zip(former, self._placed, strict=False))
            self._keep(next((number for number, (was, now) in both if was is not now), len(former)))
            return
        for event in added:
            self._turn.append(event)
            self._keys.append(fold_key(event))
            self._keep(orders.place(self._placed, event))

    def fold(self) -> bool:
        """Fold one slice of the facts that are not folded yet; True if more are left."""
        part = self._placed[self._folded : self._folded + SLICE]
        for event in part:
            self._state = orders.apply(self._state, event)
            self._folded += 1
            if self._folded % STRIDE == 0:
                self._states.append(self._state)
        return self._folded < len(self._placed)

    def _keep(self, unchanged: int) -> None:
        """Drop the states after the first `unchanged` placed facts."""
        if unchanged < self._folded:
            whole = unchanged // STRIDE
            del self._states[whole + 1 :]
            self._state, self._folded = self._states[whole], whole * STRIDE
