"""A subscription's queue, where its reads of the store end in another order than they began."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import cast

from app.core.outbound import examples
from app.core.outbound.delivery import Delivery, DeliveryState, DeliveryUpdate
from app.core.outbound.message import Target
from app.store import Store
from app.workers.deliveries.queue import DeliveryQueue

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SEQUENCE = 7


class SlowStore:
    """Reads of it last until they are let go; nothing more waits."""

    def __init__(self) -> None:
        self.reads: list[asyncio.Event] = []

    async def deliveries_in_turn(self, _subscription: str, _sequence: int, _after: int, _limit: int) -> list[Delivery]:
        self.reads.append(asyncio.Event())
        await self.reads[-1].wait()
        return []


def pending(number: int) -> Delivery:
    return Delivery(
        subscription="crm",
        message=examples.message(number, "breaker.opened", NOW, "acme", (Target("crm"),)),
        sequence=SEQUENCE,
        state=DeliveryState.PENDING,
        due_at=NOW,
        tries=0,
        attempts=(),
    )


async def test_a_sequence_may_be_read_twice_at_once() -> None:
    """A page found the next message due while the queue looked for it; what ended first forgot the sequence."""
    store = SlowStore()
    queue = DeliveryQueue("crm", cast("Store", store))
    settling: list[asyncio.Task[object]] = []
    for number in (1, 2):
        delivery = pending(number)
        assert queue._push(delivery)
        queue._sequences[SEQUENCE].more = True
        assert queue.take() is delivery
        update = DeliveryUpdate("crm", delivery.message.id, DeliveryState.DELIVERED, NOW, 1, ())
        settling.append(asyncio.create_task(queue.settled(delivery, update, NOW)))
        await asyncio.sleep(0)
    store.reads[1].set()
    await settling[1]
    for number in (1, 2):
        queue.recorded(number)
    store.reads[0].set()
    await settling[0]
    assert queue.idle
    assert not queue._sequences
