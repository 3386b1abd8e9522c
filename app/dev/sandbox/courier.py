"""Delivers a simulated provider's webhooks: strictly in order, one at a time, again and again until one is taken.

So PlanOmatic documents it: a 2xx is success, anything else is sent again every six minutes, and what
happened later waits. What proves when it was sent is signed anew for each try, as Standard Webhooks has it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import aiohttp

from app.contract import HttpRequest

TIMEOUT_S = 15.0


class WebhookSender:
    """The webhooks of one provider, on their way."""

    def __init__(
        self, session: aiohttp.ClientSession, resend_s: float, resign: Callable[[HttpRequest], HttpRequest]
    ) -> None:
        self._session, self._resend_s, self._resign = session, resend_s, resign
        self._waiting: deque[HttpRequest] = deque()
        self._url: str | None = None
        self._headers: dict[str, str] = {}
        self._work, self._redirected = asyncio.Event(), asyncio.Event()

    @property
    def has_target(self) -> bool:
        """Is there a URL to deliver to?"""
        return self._url is not None

    def send(self, webhooks: Iterable[HttpRequest]) -> None:
        """Deliver these after all that wait."""
        self._waiting.extend(webhooks)
        self._wake()

    def aim(self, url: str | None, headers: Mapping[str, str]) -> None:
        """Deliver to `url`, with `headers` besides the webhook's own; None keeps everything here."""
        self._url, self._headers = url, dict(headers)
        self._redirected.set()
        self._wake()

    def drain(self) -> list[HttpRequest]:
        """Take out everything that waits."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._wake()
        return taken

    async def run(self) -> None:
        """Deliver until canceled."""
        while True:
            await self._work.wait()
            webhook = self._waiting[0]
            self._redirected.clear()
            if not await self._deliver(webhook):
                # A new target is tried at once; new webhooks are not: they come after this one.
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._redirected.wait(), self._resend_s)
                if self._waiting and self._waiting[0] is webhook:
                    self._waiting[0] = self._resign(webhook)
            elif self._waiting and self._waiting[0] is webhook:
                self._waiting.popleft()
                self._wake()

    def _wake(self) -> None:
        if self._waiting and self._url is not None:
            self._work.set()
        else:
            self._work.clear()

    async def _deliver(self, webhook: HttpRequest) -> bool:
        """Send one webhook; was it taken?"""
        try:
            async with self._session.request(
                webhook.method,
                f"{self._url}{webhook.url}",
                data=webhook.body,
                headers={**webhook.headers, **self._headers},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            ) as answer:
                await answer.read()
                return answer.ok and answer.status < 300  # noqa: PLR2004 - a 3xx is no success
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return False
