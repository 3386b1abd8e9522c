"""What requests leave for the garbage collector: nothing, or else it stands in the way of those that follow."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from servers import Rescind

from app.core.pauses import EVERYTHING, Pause

REQUESTS = 40


async def test_no_request_leaves_cyclic_garbage(rescind: Rescind) -> None:
    async def webhook(number: int) -> None:
        await rescind.tell("order.processed", f"o-{number}")

    async def read(_: int) -> None:
        assert (await rescind.ask("GET", "/v1/orders")).status == 200

    async def cancel(number: int) -> None:
        await rescind.cancel(f"o-{number}")

    # Nothing is sent: a call whose connection is refused leaves the cycles of its error.
    await rescind.node.ledger.pause(Pause(EVERYTHING, "a test", datetime.now(UTC), "test"))
    for request in (webhook, read, cancel):
        left = await garbage_of(request)
        assert left < REQUESTS, f"{request.__name__} left {left} objects in cycles"


async def garbage_of(request: Callable[[int], Awaitable[object]]) -> int:
    """How many objects are left in cycles by so many requests."""
    await request(0)
    gc.collect()
    gc.disable()
    try:
        for number in range(1, REQUESTS + 1):
            await request(number)
        return gc.collect()
    finally:
        gc.enable()
