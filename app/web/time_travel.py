"""Orders as they were known at an earlier time: the fold of the events that had been received by then."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from app.contract import Order
from app.core.aggregate import OrderAggregate, is_fact
from app.core.cancellation import Cancellation
from app.core.event_types import PROBE_PREFIX
from app.core.folding import Replay
from app.node import Node
from app.runtime.time_slice import TimeSlice
from app.web.fields import Moment
from app.web.routes import Query


class MomentQuery(Query):
    """As of which time, and with the knowledge of which time."""

    at: Moment | None = Field(None, description="As of this time, for what time alone changes. Default: now.")
    known_at: Moment | None = Field(None, description="Only events received by this time count. Default: all.")


class KnownOrder:
    """An order as it was known at a time, with all cancellations that there were."""

    def __init__(self, aggregate: OrderAggregate, cancellations: dict[str, Cancellation]) -> None:
        self.aggregate, self.cancellations = aggregate, cancellations


async def order_known_at(node: Node, pk: int, order: Order, known_at: datetime) -> KnownOrder:
    """Replay the order's log as far as it was known; of an order not heard of by then, nothing is known."""
    replay: Replay | None = None
    time_slice = TimeSlice()
    async for page in node.store.order_pages(pk):
        for _, event in page:
            if event.received_at > known_at:
                continue
            if replay is None:
                replay = Replay(event)
            else:
                if event.type.startswith(PROBE_PREFIX) or (is_fact(event) and event.facts.snapshot):
                    await _fold(replay, time_slice)  # these need what comes before folded
                replay.add(event)
            await time_slice.pause()
    if replay is None:
        return KnownOrder(OrderAggregate(Order(account=order.account, id=order.id)), {})
    await _fold(replay, time_slice)
    return KnownOrder(replay.aggregate, replay.cancellations)


async def _fold(replay: Replay, time_slice: TimeSlice) -> None:
    while replay.fold():
        await time_slice.pause()
