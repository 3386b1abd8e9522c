"""Sends a simulated provider's webhooks: in order, one at a time, each until it gets a 2xx.

PlanOmatic documents it so: a 2xx is success, anything else is sent again every six minutes, and later webhooks wait.
A signature that includes the time is made again for each try, as in Standard Webhooks.
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
    """Sends the webhooks of one provider."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        resend_s: float,
        resign: Callable[[HttpRequest], HttpRequest],
        on_failure: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_failure` is called with a sentence when a webhook did not arrive, once for failures of one cause."""
        self._session, self._resend_s, self._resign, self._on_failure = session, resend_s, resign, on_failure
        self._failure = ""
        self._waiting: deque[HttpRequest] = deque()
        self._url: str | None = None
        self._headers: dict[str, str] = {}
        self._work, self._redirected = asyncio.Event(), asyncio.Event()

    @property
    def has_target(self) -> bool:
        """Whether there is a URL to send to."""
        return self._url is not None

    def send(self, webhooks: Iterable[HttpRequest]) -> None:
        """Queue these webhooks."""
        self._waiting.extend(webhooks)
        self._wake()

    def set_target(self, url: str | None, headers: Mapping[str, str]) -> None:
        """Send to `url`, with `headers` added to the webhook's own; None holds all webhooks."""
        self._url, self._headers = url, dict(headers)
        self._redirected.set()
        self._wake()

    def drain(self) -> list[HttpRequest]:
        """Take out all queued webhooks."""
        webhooks = list(self._waiting)
        self._waiting.clear()
        self._wake()
        return webhooks

    async def run(self) -> None:
        """Send until the task is canceled."""
        while True:
            await self._work.wait()
            webhook = self._waiting[0]
            self._redirected.clear()
            failure = await self._deliver(webhook)
            if failure != self._failure:
                self._failure = failure
                if failure:
                    self._on_failure(f"{failure}. It is sent again every {self._resend_s:g} s; later ones wait for it.")
            if failure:
                # A new target is tried at once; a new webhook comes after this one.
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

    async def _deliver(self, webhook: HttpRequest) -> str:
        """Send one webhook; why it got no 2xx, "" if it got one."""
        url = f"{self._url}{webhook.url}"
        try:
            async with self._session.request(
                webhook.method,
                url,
                data=webhook.body,
                headers={**webhook.headers, **self._headers},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            ) as response:
                await response.read()
                accepted = response.ok and response.status < 300  # noqa: PLR2004 - a 3xx is no success
                return "" if accepted else f"{url} responded {response.status} to a webhook"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return f"A webhook to {url} got no response ({str(error) or type(error).__name__})"
