"""`/readyz`: whether this process can take work. Anybody may ask, every few seconds, so a check must cost little."""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import web

from app.engine import ledger
from app.node import Node
from app.store import StoreError

FRESH_S = 1.0
"""How long a successful write counts: a storm of requests is one write a second."""
WAIT_S = 5.0
"""Longer than the store waits for a lock, so that the reason is known; shorter than a disk may hang."""

log = structlog.get_logger()


class Readiness:
    """Finds what keeps a node from taking work. The database has to take a write: a full disk still reads."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._check: asyncio.Task[str] | None = None
        self._checked_at = 0.0
        self._failures = 0
        self._logged: list[str] = []

    async def faults(self) -> list[str]:
        """What is wrong, a sentence each; empty if the node is ready."""
        if self._node.stopping:
            return ["stopping"]
        faults = [] if self._node.healthy else ["a worker has ended"]
        if fault := self._node.ownership.fault:
            faults.append(fault)
        if self._node.ledger.waiting >= ledger.QUEUE_MAX:
            faults.append("the queue is full")
        if not faults and (fault := await self._fault_of_store()):
            faults.append(fault)
        if faults != self._logged:
            self._logged = faults
            log.warning("not_ready" if faults else "ready_again", reasons=faults)
        return faults

    async def _fault_of_store(self) -> str:
        check = self._check
        if check is None or (check.done() and not self._is_fresh(check.result())):
            self._failures = self._node.ledger.failures
            self._check = check = asyncio.create_task(self._write())
        await asyncio.wait({check}, timeout=WAIT_S)
        return check.result() if check.done() else f"the database has not taken a write within {WAIT_S:g} s"

    def _is_fresh(self, fault: str) -> bool:
        if not fault and self._node.ledger.failures != self._failures:
            return False  # The store has failed since.
        return asyncio.get_running_loop().time() - self._checked_at < FRESH_S

    async def _write(self) -> str:
        """What keeps the database from taking a write; empty if it took one."""
        try:
            await self._node.store.prove_writable()
        except StoreError as error:
            return str(error)
        else:
            return ""
        finally:
            self._checked_at = asyncio.get_running_loop().time()


READINESS: web.AppKey[Readiness] = web.AppKey("readiness", Readiness)


async def show_readiness(request: web.Request) -> web.Response:
    """200 if workers run, the database takes a write and the queue has room; else, and while stopping, 503 with why."""
    faults = await request.app[READINESS].faults()
    return web.json_response({"status": "; ".join(faults) or "ready"}, status=503 if faults else 200)
