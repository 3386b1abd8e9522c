"""`/readyz`: can this process take work? It is asked every few seconds, by anybody, and must cost little."""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import web

from app.engine import ledger
from app.node import Node
from app.store import StoreError
from app.web.routes import NODE

FRESH_S = 1.0
"""An answer of the database's is good for so long, or until it fails: a storm of probes is one write a second."""
WAIT_S = 5.0
"""Longer than the store waits for a lock, so that the reason is known; a disk that hangs is not waited for."""

log = structlog.get_logger()


class Readiness:
    """Finds what keeps a node from taking work. The database has to take a write: a full disk still reads."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._probe: asyncio.Task[str] | None = None
        self._proved_at = 0.0
        self._failures = 0
        self._said: list[str] = []

    async def faults(self) -> list[str]:
        """What is wrong, in a sentence each; empty: nothing."""
        found = [] if self._node.healthy else ["a worker has ended"]
        if self._node.ledger.waiting >= ledger.QUEUE_MAX:
            found.append("the queue is full")
        if not found and (fault := await self._fault_of_store()):
            found.append(fault)
        if found != self._said:
            self._said = found
            log.warning("not_ready" if found else "ready_again", reasons=found)
        return found

    async def _fault_of_store(self) -> str:
        probe = self._probe
        if probe is None or (probe.done() and not self._is_fresh(probe.result())):
            self._failures = self._node.ledger.failures
            self._probe = probe = asyncio.create_task(self._prove())
        await asyncio.wait({probe}, timeout=WAIT_S)
        return probe.result() if probe.done() else f"the database has not taken a write within {WAIT_S:g} s"

    def _is_fresh(self, answer: str) -> bool:
        if not answer and self._node.ledger.failures != self._failures:
            return False  # it has failed since
        return asyncio.get_running_loop().time() - self._proved_at < FRESH_S

    async def _prove(self) -> str:
        try:
            await self._node.store.prove_writable()
        except StoreError as error:
            return str(error)
        else:
            return ""
        finally:
            self._proved_at = asyncio.get_running_loop().time()


READINESS: web.AppKey[Readiness] = web.AppKey("readiness", Readiness)


def add_readiness(app: web.Application) -> None:
    """Have `app` answer `show`."""
    app[READINESS] = Readiness(app[NODE])


async def show(request: web.Request) -> web.Response:
    """200 if the process can take work: its workers run, the database takes a write, and there is room; else 503."""
    faults = await request.app[READINESS].faults()
    return web.json_response({"status": "; ".join(faults) or "ready"}, status=503 if faults else 200)
