"""The credentials of one account for fetching keys that its source shows only to its clients.

The ring of each node has tokens of its own, whichever node owns the account: they are not the lane's, and use nothing
of the account's limits. A token that is good once is therefore of no use here, and is refused when it is saved.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from app.config.resolve import Account
from app.contract import Context, Flow, HttpRequest, HttpResponse, ProbeUnavailable
from app.kit.tokens import send_authorized
from app.runtime.outgoing import OutgoingHttp, Reply, SendFailedError

CALLS_MAX = 6
"""Of one fetch: a token, the key, and after a 401 both again; some providers' tokens take a call more."""
TOTAL_S = 10.0
"""Of all calls of one fetch."""


class KeyCredentials:
    """Fetches documents with the account's credentials, of which it remembers the token."""

    __slots__ = ("_memory", "account")

    def __init__(self, account: Account) -> None:
        self.account = account
        self._memory: dict[str, tuple[datetime, Any]] = {}

    def is_for(self, account: Account) -> bool:
        """Whether these are the credentials of the account as it is now."""
        return self.account.handler is account.handler and self.account.config == account.config

    async def get(self, http: OutgoingHttp, url: str, headers: dict[str, str], *, timeout_s: float, keep: int) -> Reply:
        """GET a document; arguments as of `OutgoingHttp.send`.

        Raises `SendFailedError`, which repeats no credentials.
        """
        authorize = self.account.handler.authorize(self.account.config)
        if authorize is None:
            raise SendFailedError("the account has no token that keys can be fetched with", None)
        context = Context(datetime.now(UTC), uuid4().hex, self._memory)
        request = HttpRequest("GET", url, headers, timeout_s=timeout_s, repeatable=True, confidential=True)
        flow = send_authorized(request, authorize, self.account.config, context)
        try:
            async with asyncio.timeout(TOTAL_S):
                reply, response = await _carry_out(flow, http, timeout_s, keep)
        except TimeoutError:
            raise SendFailedError("no response in time", None) from None
        if isinstance(response, ProbeUnavailable):
            raise SendFailedError(str(response), None)
        return reply


async def _carry_out(
    flow: Flow[HttpResponse | ProbeUnavailable], http: OutgoingHttp, timeout_s: float, keep: int
) -> tuple[Reply, HttpResponse | ProbeUnavailable]:
    """The last reply, and what the flow returns. Raises `SendFailedError`."""
    reply = Reply(0, {}, b"", truncated=False)
    try:
        request = next(flow)
        for _ in range(CALLS_MAX):
            most = min(request.timeout_s, timeout_s)
            reply = await http.send(
                request.method, request.url, request.headers, request.body, timeout_s=most, keep=keep
            )
            request = flow.send(HttpResponse(reply.status, dict(reply.headers), reply.body))
    except StopIteration as end:
        return reply, end.value
    finally:
        flow.close()
    raise SendFailedError(f"its credentials took more than {CALLS_MAX} calls", None)
