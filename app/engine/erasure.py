"""Erasure of orders in a commit: their logs are rewritten without personal data, and folded anew.

What is stored of an order is the fold of its log, so both change together: the order and its cancellations become what
the erased log gives, which a rebuild finds as it is (guarantee I8).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from app.core.aggregate import OrderAggregate
from app.core.cancellation import Cancellation
from app.core.erasure import EraseOrder, Eraser
from app.core.event import Event
from app.core.folding import Replay
from app.core.log_chain import erasure_digest, leaf_hash
from app.engine.order_unit import OrderUnit
from app.runtime import ids
from app.runtime.time_slice import TimeSlice
from app.store import ErasedEvent, LoggedRow, LogMark, codec


@dataclass(frozen=True, slots=True)
class ErasedOrder:
    """What the erasure of one order changes."""

    events: tuple[ErasedEvent, ...] = ()
    cancellations: tuple[Cancellation, ...] = ()
    """All of the order, as they are then."""
    receipts: tuple[int, ...] = ()
    """Those that its events came with."""


@dataclass(frozen=True, slots=True)
class PreparedErasure:
    """What the erasure of one order is, worked out before the commit that writes it: webhooks wait for a commit."""

    mark: LogMark
    """The mark of the log that it is made from. The commit uses it only if the log still has this mark."""
    received_at: datetime | None
    """When the last event was received."""
    order: ErasedOrder
    aggregate: OrderAggregate | None
    """The order that the erased log gives; None if nothing of it is to be erased."""


class ErasureOutdatedError(Exception):
    """The order's log changed after its erasure was prepared: prepare it again."""


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


async def prepare(
    number: int, personal: Collection[str], mark: LogMark, rows: Sequence[LoggedRow], by: str
) -> PreparedErasure:
    """Work out the erasure of an order.

    Args:
        number: of the order.
        personal: names of attributes that its handler declares personal.
        mark: of its log.
        rows: its events in the log.
        by: id of the event that records it.
    """
    time_slice = TimeSlice()
    events: list[Event] = []
    for row in rows:
        events.append(codec.read_event(row.columns))
        await time_slice.pause()
    received_at = max((event.received_at for event in events), default=None)
    eraser = Eraser(number, personal)
    eraser.count(events)
    erased: list[ErasedEvent] = []
    for place, row in enumerate(rows):
        without = eraser.erase(events[place])
        if without is not events[place]:
            erased.append(_erased(number, row, without, by))
            events[place] = without
        await time_slice.pause()
    receipts = dict.fromkeys(ids.read(ids.RECEIPT, event.receipt) for event in events if event.receipt is not None)
    if not erased:
        return PreparedErasure(mark, received_at, ErasedOrder(receipts=tuple(receipts)), None)
    replayed = await _fold(events)
    order = ErasedOrder(tuple(erased), tuple(replayed.cancellations.values()), tuple(receipts))
    return PreparedErasure(mark, received_at, order, replayed.aggregate)


def erase(
    unit: OrderUnit, mark: LogMark, prepared: PreparedErasure, command: EraseOrder
) -> ErasedOrder | Cancellation | bool:
    """Give the unit of work the aggregate that follows from an erasure; returns what is to be written.

    Args:
        unit: the order, as stored.
        mark: of its log.
        prepared: the erasure.
        command: what was asked for.

    Raises:
        ErasureOutdatedError: it was prepared for another log.
    """
    if mark != prepared.mark:
        raise ErasureOutdatedError
    refusal = command.refusal(unit, prepared.received_at)
    if refusal is not False:
        return refusal
    if prepared.aggregate is not None:
        unit.aggregate = prepared.aggregate
        unit.must_write = unit.quiet = True
    return prepared.order


async def _fold(events: Sequence[Event]) -> Replay:
    """Fold the log anew, as a rebuild does."""
    time_slice, replayed = TimeSlice(), Replay(events[0])
    for event in events[1:]:
        replayed.add(event)
        await time_slice.pause()
    while replayed.fold():
        await time_slice.pause()
    return replayed


def _erased(number: int, row: LoggedRow, event: Event, by: str) -> ErasedEvent:
    columns = codec.event_row(number, event, codec.plain)[1:10]
    before, after = (leaf_hash(row.position, *each) for each in (row.columns, columns))
    return ErasedEvent(row.position, columns[-1], before, after, by, event.account, number)
