"""Erasure of orders in a commit: their logs are rewritten without personal data, and folded anew.

What is stored of an order is the fold of its log, so both change together: the order and its cancellations become what
the erased log gives, which a rebuild finds as it is (guarantee I8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.core.cancellation import Cancellation
from app.core.erasure import EraseOrder, Eraser
from app.core.event import Event
from app.core.folding import Replay
from app.core.log_chain import erasure_digest, leaf_hash
from app.engine.order_unit import OrderUnit
from app.runtime import ids
from app.runtime.time_slice import TimeSlice
from app.store import ErasedEvent, LoggedRow, codec


@dataclass(frozen=True, slots=True)
class ErasedOrder:
    """What the erasure of one order changes."""

    events: tuple[ErasedEvent, ...] = ()
    cancellations: tuple[Cancellation, ...] = ()
    """All of the order, as they are then."""
    receipts: tuple[int, ...] = ()
    """Those that its events came with."""


@dataclass(slots=True)
class Erasures:
    """What one commit erased."""

    orders: list[ErasedOrder] = field(default_factory=list)
    refused: list[Cancellation | bool] = field(default_factory=list)
    """For each order that was not erased, see `EraseOrder.refusal`."""

    @property
    def events(self) -> list[ErasedEvent]:
        """All events that were erased, by position."""
        return sorted((event for order in self.orders for event in order.events), key=lambda event: event.position)

    @property
    def digest(self) -> str:
        """What the event that records it has as `digest`."""
        return erasure_digest((event.position, event.before, event.after) for event in self.events).hex()


async def erase(
    unit: OrderUnit, rows: Sequence[LoggedRow], command: EraseOrder, by: str
) -> ErasedOrder | Cancellation | bool:
    """Erase what is stored of an order, and give the unit of work the aggregate that follows.

    Args:
        unit: the order, as stored.
        rows: its events in the log.
        command: what was asked for.
        by: id of the event that records it.
    """
    time_slice = TimeSlice()
    events: list[Event] = []
    for row in rows:
        events.append(codec.read_event(row.columns))
        await time_slice.pause()
    refusal = command.refusal(unit, max((event.received_at for event in events), default=None))
    if refusal is not False:
        return refusal
    eraser = Eraser(unit.number, unit.account.handler.personal)
    eraser.count(events)
    erased: list[ErasedEvent] = []
    for place, row in enumerate(rows):
        without = eraser.erase(events[place])
        if without is not events[place]:
            erased.append(_erased(unit.number, row, without, by))
            events[place] = without
        await time_slice.pause()
    receipts = dict.fromkeys(ids.read(ids.RECEIPT, event.receipt) for event in events if event.receipt is not None)
    cancellations = await _refold(unit, events) if erased else ()
    return ErasedOrder(tuple(erased), cancellations, tuple(receipts))


async def _refold(unit: OrderUnit, events: Sequence[Event]) -> tuple[Cancellation, ...]:
    """Fold the log anew, as a rebuild does; returns the cancellations."""
    time_slice, replayed = TimeSlice(), Replay(events[0])
    for event in events[1:]:
        replayed.add(event)
        await time_slice.pause()
    while replayed.fold():
        await time_slice.pause()
    unit.aggregate = replayed.aggregate
    unit.must_write = unit.quiet = True
    return tuple(replayed.cancellations.values())


def _erased(number: int, row: LoggedRow, event: Event, by: str) -> ErasedEvent:
    columns = codec.event_row(number, event)[1:10]
    return ErasedEvent(
        row.position, columns[-1], leaf_hash(row.position, *row.columns), leaf_hash(row.position, *columns), by
    )
