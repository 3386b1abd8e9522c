"""Calls the URLs by which senders have a subscription confirmed, such as the SubscribeURL of Amazon SNS.

Each is called at most once while it is remembered, through the guarded session, over https only and without following
redirects. A sender that repeats itself causes no second call, and one that invents URLs only a few.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from enum import StrEnum
from hashlib import blake2b
from time import monotonic
from urllib.parse import urlsplit

import structlog

from app.runtime import metrics
from app.runtime.outgoing import OutgoingHttp, SendFailedError

TIMEOUT_S = 8.0
"""The sender waits meanwhile; SNS does for 15 seconds."""
SPAN_S = 3600.0
CALLS_MAX = 10
"""Calls for one endpoint in `SPAN_S` seconds."""
UNDER_WAY_MAX = 20
REMEMBERED_MAX = 1000

log = structlog.get_logger()


class Confirmation(StrEnum):
    """What came of a confirmation."""

    CONFIRMED = "confirmed"
    REFUSED = "refused"
    """The server did not answer 2xx."""
    FAILED = "failed"
    """There was no answer."""
    LIMITED = "limited"
    NOT_HTTPS = "not_https"


class Confirmations:
    """Confirms subscriptions."""

    def __init__(self, outgoing: OutgoingHttp, clock: Callable[[], float] = monotonic) -> None:
        self._outgoing, self._clock = outgoing, clock
        self._under_way: dict[bytes, asyncio.Task[Confirmation]] = {}
        self._confirmed: OrderedDict[bytes, float] = OrderedDict()
        """Digest of endpoint and URL → when it was confirmed."""
        self._calls: dict[str, deque[float]] = {}
        """Endpoint → when it caused calls."""

    async def confirm(self, endpoint: str, url: str) -> Confirmation:
        """Call the URL, unless it was confirmed within the last hour; returns what came of it."""
        key = blake2b(f"{endpoint}\0{url}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
        now = self._clock()
        if now - self._confirmed.get(key, -SPAN_S) < SPAN_S:
            return Confirmation.CONFIRMED
        task = self._under_way.get(key)
        if task is None:
            refused = self._refusal(endpoint, url, now)
            if refused is not None:
                self._note(endpoint, url, refused)
                return refused
            task = asyncio.create_task(self._call(endpoint, url, key), name="confirmation")
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)

    async def stop(self) -> None:
        """End the calls under way: their senders get no 2xx, and ask again."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _refusal(self, endpoint: str, url: str, now: float) -> Confirmation | None:
        """Why the URL is not called; counts the call otherwise."""
        try:
            secure = urlsplit(url).scheme == "https"
        except ValueError:
            secure = False
        if not secure:
            return Confirmation.NOT_HTTPS
        calls = self._calls.setdefault(endpoint, deque(maxlen=CALLS_MAX))
        if len(self._under_way) >= UNDER_WAY_MAX or (len(calls) == CALLS_MAX and now - calls[0] < SPAN_S):
            return Confirmation.LIMITED
        calls.append(now)
        return None

    async def _call(self, endpoint: str, url: str, key: bytes) -> Confirmation:
        status, error = 0, ""
        try:
            reply = await self._outgoing.send("GET", url, {}, b"", timeout_s=TIMEOUT_S, keep=0)
            status = reply.status
            result = Confirmation.CONFIRMED if 200 <= status < 300 else Confirmation.REFUSED  # noqa: PLR2004
        except SendFailedError as failed:
            result, error = Confirmation.FAILED, str(failed)
        if result is Confirmation.CONFIRMED:
            self._confirmed[key] = self._clock()
            while len(self._confirmed) > REMEMBERED_MAX:
                self._confirmed.popitem(last=False)
        self._note(endpoint, url, result, status=status, error=error)
        return result

    def _note(self, endpoint: str, url: str, result: Confirmation, **more: object) -> None:
        metrics.CONFIRMATIONS.labels(endpoint, result.value).inc()
        # Path and query hold the token of the subscription.
        host = url.partition("://")[2].partition("/")[0].partition("?")[0][:255]
        write = log.info if result is Confirmation.CONFIRMED else log.warning
        write("subscription_confirmation", endpoint=endpoint, host=host, result=result.value, **more)
