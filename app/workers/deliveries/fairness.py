"""What subscriptions share: the event loop with ingest, and sockets with each other."""

from __future__ import annotations

import asyncio
import resource
from collections import deque
from collections.abc import Callable

BUSY_WAITING = 4
"""How many requests wait for the ledger when the node is busy with webhooks."""
BUSY_PER_S = 100
"""Deliveries that are sent meanwhile, of all subscriptions together: few enough that webhooks keep most of the loop,
and never none."""
TICK_S = 0.02
SOCKETS_MAX = 2048
OTHER_FILES = 256
"""Open files that are none of ours: the database, calls to providers, the system's own."""
_RELEASED_AT_ONCE = 64


class Turns:
    """Lets deliveries pass freely, and at a bounded rate while webhooks wait for the ledger."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        """Make turns; `waiting` gives how many requests wait for the ledger."""
        self._waiting = waiting
        self._queue: deque[asyncio.Future[None]] = deque()
        self._releasing: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether webhooks wait."""
        return self._waiting() >= BUSY_WAITING

    async def wait(self) -> None:
        """Wait for a turn, in the order of the calls."""
        if not self._queue and not self.busy:
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        if self._releasing is None or self._releasing.done():
            self._releasing = asyncio.create_task(self._release())
        await turn

    async def _release(self) -> None:
        while self._queue:
            busy = self.busy
            for _ in range(round(BUSY_PER_S * TICK_S) if busy else _RELEASED_AT_ONCE):
                if not self._queue:
                    return
                turn = self._queue.popleft()
                if not turn.done():
                    turn.set_result(None)
            await asyncio.sleep(TICK_S if busy else 0)


class Sockets:
    """The connections that subscriptions use beside the first of each, which none ever waits for.

    Nobody waits for these either: a subscriber that gets none goes on with one connection. So subscribers that hang,
    each with one connection, take nothing from the others.
    """

    def __init__(self, maximum: int | None = None) -> None:
        self._free = sockets_possible() if maximum is None else maximum

    def take(self) -> bool:
        """Take one, if there is one."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    def give_back(self) -> None:
        """Return one."""
        self._free += 1


def sockets_possible() -> int:
    """How many sockets deliveries may use: a quarter of the files that the process may open, up to `SOCKETS_MAX`."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return SOCKETS_MAX
    return max(0, min(SOCKETS_MAX, (limit - OTHER_FILES) // 4))
