"""The provider's side of the drill: it sends every webhook until it is acknowledged, and keeps a record of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from app.dev.demo.context import Rescind, Sandbox

SENDERS = 6
POLL_S, RETRY_S = 0.05, 0.1


@dataclass(slots=True)
class Sent:
    """One webhook, and what came of it."""

    body: bytes
    sent_at: float = 0.0
    """When its last try began, by the monotonic clock; 0 before the first."""
    acked_at: float = 0.0
    """When a 2xx came; 0 while there was none."""
    receipt: str = ""
    """The receipt that the response named."""
    duplicate: bool = False
    """Whether the response said that it was known."""


class Sender:
    """Takes the webhooks out of the sandbox, and delivers them several at a time."""

    def __init__(self, rescind: Rescind, sandbox: Sandbox) -> None:
        self._rescind, self._sandbox = rescind, sandbox
        self.sent: list[Sent] = []
        self._queue: asyncio.Queue[Sent] = asyncio.Queue()
        self._unfinished = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._taker: asyncio.Task[None] | None = None
        self._taking = False

    def start(self) -> None:
        """Begin to send."""
        self._taking = True
        self._taker = asyncio.create_task(self._take())
        self._tasks = [asyncio.create_task(self._send()) for _ in range(SENDERS)]

    async def stop(self) -> None:
        """End; what is not acknowledged stays so."""
        # Not canceled: what the sandbox has just handed out would be lost.
        self._taking = False
        if self._taker is not None:
            await self._taker
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks, self._queue, self._unfinished = [], asyncio.Queue(), 0

    def resend(self, webhooks: Sequence[Sent]) -> None:
        """Send these again, as providers do on request."""
        for sent in webhooks:
            sent.acked_at = 0.0
            self._put(sent)

    @property
    def acknowledged(self) -> list[Sent]:
        """The webhooks that got a 2xx."""
        return [sent for sent in self.sent if sent.acked_at]

    @property
    def is_idle(self) -> bool:
        """Whether everything that was taken out was acknowledged."""
        return not self._unfinished

    def _put(self, sent: Sent) -> None:
        self._unfinished += 1
        self._queue.put_nowait(sent)

    async def _take(self) -> None:
        while self._taking:
            for body, _ in await self._sandbox.drain_webhooks():
                sent = Sent(body)
                self.sent.append(sent)
                self._put(sent)
            await asyncio.sleep(POLL_S)

    async def _send(self) -> None:
        while True:
            sent = await self._queue.get()
            while not sent.acked_at:
                sent.sent_at = time.monotonic()
                with suppress(aiohttp.ClientError, OSError, TimeoutError):
                    response = await self._rescind.deliver(sent.body)
                    if response.summary in ("accepted", "duplicate"):
                        sent.acked_at, sent.receipt = time.monotonic(), response.body["receipt"]
                        sent.duplicate = response.summary == "duplicate"
                if not sent.acked_at:
                    await asyncio.sleep(RETRY_S)
            self._unfinished -= 1
