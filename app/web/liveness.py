"""Whether a process still works: what a watchdog wants to know, which ends a process that does not."""

from __future__ import annotations

from time import monotonic

from aiohttp import web

from app.node import Node
from app.web.readiness import Readiness

STALLED_S = 30.0
"""The ledger is stuck if it has work and got nothing done for so long. A commit waits for a lock a few seconds."""


class Liveness:
    """Finds what only a restart helps against.

    A database that is unavailable (a full disk, a lock, a file that was removed) is no such thing: who waits is turned
    away, and a restarted process would do no better.
    """

    def __init__(self, node: Node, readiness: Readiness, url: str) -> None:
        self._node, self._readiness, self._url = node, readiness, url
        self._turns, self._turned_at, self._was_busy = 0, monotonic(), False

    def fault(self) -> str:
        """Why only a restart helps; "" if the process works. Ask every few seconds."""
        if not self._node.healthy:
            return "a worker has ended"
        ledger, now = self._node.ledger, monotonic()
        if ledger.turns != self._turns or not self._was_busy:
            self._turns, self._turned_at = ledger.turns, now
        self._was_busy = ledger.unfinished > 0
        stalled_s = now - self._turned_at
        return f"nothing was recorded for {stalled_s:.0f} s" if stalled_s >= STALLED_S else ""

    async def status(self) -> str:
        """A line for people: whether the process takes work, and how much."""
        faults = await self._readiness.faults()
        if faults:
            return f"Not ready: {'; '.join(faults)}"
        ledger, accounts = self._node.ledger, len(self._node.lanes)
        pauses = f"; {len(ledger.pauses)} paused" if ledger.pauses else ""
        return f"Ready at {self._url}: {accounts} account{'' if accounts == 1 else 's'}{pauses}"


LIVENESS: web.AppKey[Liveness] = web.AppKey("liveness", Liveness)


async def show_health(request: web.Request) -> web.Response:
    """200: the process works, if perhaps without its database; 503: only a restart helps."""
    fault = request.app[LIVENESS].fault()
    return web.json_response({"status": fault or "ok"}, status=503 if fault else 200)
