"""Handshakes: requests by which senders find out whether their webhooks are wanted, and the responses to them.

Strangers reach this, and the responses are under the origin of the console. So a response is text or JSON and nothing
that a browser renders, its size and its headers are limited, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog
from aiohttp import web
from aiohttp.hdrs import CACHE_CONTROL, CONTENT_TYPE

from app.config.resolve import Endpoint
from app.contract import HandshakeResponse, InboundRequest
from app.runtime import metrics
from app.runtime.log import LogLimiter
from app.web.problems import Kind, Problem, busy
from app.web.rate_limits import RateLimits
from app.workers.confirmations import Confirmation, Confirmations

BODY_MAX = 16_384
LOG_S = 10.0
TEXT = "text/plain"
_MEDIA_TYPES = frozenset({"application/json"})
"""Beside text."""
_ALWAYS = {"X-Content-Type-Options": "nosniff", CACHE_CONTROL: "no-store"}
_ALWAYS_LOWER = frozenset(name.lower() for name in (*_ALWAYS, "Content-Length", "Transfer-Encoding", "Connection"))

log = structlog.get_logger()


class Handshakes:
    """Asks handlers for the responses to handshakes, and makes them safe to send."""

    def __init__(self, confirmations: Confirmations, limits: RateLimits) -> None:
        self._confirmations, self._limits = confirmations, limits
        self._log = LogLimiter(LOG_S)

    async def greet(self, endpoint: Endpoint, request: web.Request, inbound: InboundRequest) -> web.Response:
        """The response to a GET, HEAD or OPTIONS request. Raises `Problem`, `HTTPMethodNotAllowed`."""
        handshake = endpoint.account.handler.handshake
        if handshake is not None:
            self._limits.admit_handshake(request)
            given = handshake(inbound, endpoint.account.config)
            if given is not None:
                return await self._answered(endpoint, inbound, given)
        raise web.HTTPMethodNotAllowed(request.method, allowed_methods(endpoint))

    async def try_post(
        self, endpoint: Endpoint, request: web.Request, inbound: InboundRequest, *, proven: bool
    ) -> web.Response | None:
        """The response to a POST request, if it is a handshake; None: it is a webhook, or may be one.

        Only for endpoints with `post_handshakes`. Raises `Problem`.
        """
        handshake = endpoint.account.handler.handshake
        if handshake is None:
            return None
        try:
            asked = msgspec.structs.replace(inbound, proven=proven)
            given = handshake(asked, endpoint.account.config)
        except Exception:
            # What it fails on may be a webhook, and none is lost.
            if self._log.admit(endpoint.spec.id) is not None:
                log.exception("handshake_failed", endpoint=endpoint.spec.id)
            return None
        if given is None:
            return None
        if not proven:
            self._limits.admit_handshake(request)
        return await self._answered(endpoint, asked, given)

    async def _answered(self, endpoint: Endpoint, inbound: InboundRequest, given: HandshakeResponse) -> web.Response:
        id = endpoint.spec.id
        response = response_of(given, inbound.method, allowed_methods(endpoint))
        if given.confirm:
            await self._confirm(id, inbound, given.confirm)
        metrics.HANDSHAKES.labels(id, inbound.method, str(given.status)).inc()
        left_out = self._log.admit(id)
        if left_out is not None:
            log.info("handshake", endpoint=id, method=inbound.method, status=given.status, left_out=left_out)
        return response

    async def _confirm(self, endpoint: str, inbound: InboundRequest, url: str) -> None:
        if not inbound.proven:
            raise Problem(Kind.UNAUTHENTIC, "Only a request that proves its sender confirms a subscription.")
        result = await self._confirmations.confirm(endpoint, url)
        if result is not Confirmation.CONFIRMED:
            raise busy(f"The subscription was not confirmed ({result.value}); the server's log says why.")


def allowed_methods(endpoint: Endpoint) -> list[str]:
    """What the endpoint takes, perhaps not with any query: POST, and the methods of its handshakes."""
    account = endpoint.account
    return sorted({"POST", *(account.config.handshake_methods() if account.handler.handshake is not None else ())})


def response_of(given: HandshakeResponse, method: str, allowed: Sequence[str]) -> web.Response:
    """The response as it is sent; to OPTIONS it says what is `allowed`.

    Raises `Problem` where what it repeats of the request is too long, or no header.
    """
    if len(given.body) > BODY_MAX:
        raise Problem(Kind.BAD_REQUEST, f"The response would be larger than {BODY_MAX} bytes.")
    headers = {"Allow": ", ".join(allowed)} if method == "OPTIONS" else {}
    media_type = ""
    for name, value in given.headers.items():
        if not value.isprintable() or not value.isascii():
            raise Problem(Kind.BAD_REQUEST, f"The response's header {name} would hold what no header can.")
        if name.lower() == CONTENT_TYPE.lower():
            media_type = value.partition(";")[0].strip().lower()
        elif name.lower() not in _ALWAYS_LOWER:
            headers[name] = value
    headers |= _ALWAYS
    if given.body:
        headers[CONTENT_TYPE] = media_type if media_type in _MEDIA_TYPES else TEXT + "; charset=utf-8"
    return web.Response(status=given.status, headers=headers, body=given.body)
