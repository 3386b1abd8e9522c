"""Sends deliveries over HTTP: as webhooks; what is common to all formats."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import aiohttp

from app.config.approval_links import APPROVAL_LINK
from app.config.subscriptions import SubscriptionSpec
from app.contract import HttpResponse
from app.core.outbound.delivery import Delivery, DeliveryAttempt
from app.core.outbound.outcome import Outcome, bounded_wait
from app.core.outbound.signing import Signer
from app.core.outbound.types import payload
from app.kit.responses import retry_after_s
from app.runtime import ids, tracing
from app.runtime.outgoing import OutgoingHttp, Reply, SendFailedError
from app.runtime.redaction import REDACTED, Redactor

EXCERPT_MAX = 1000
"""Characters of a response's body that are kept."""
_READ_MAX = 4096
_UNSURE = 2048
"""Characters at the end of what was read of a longer body: they may be a part of a secret, which is not recognized."""
_HEADER_MAX = 200
_HEADERS_KEPT = ("content-type", "location", "retry-after", "x-request-id")
_RESERVED = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "expect", "host", "keep-alive", "te"}
    | {"trailer", "transfer-encoding", "upgrade"}
)
"""Headers that a subscription cannot set."""
_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


class NotSentError(Exception):
    """This machine could not send anything now: no receiver is at fault."""


class Sender(Protocol):
    """Sends deliveries of one subscription."""

    async def send(self, deliveries: Sequence[Delivery], now: datetime) -> Outcome:
        """Send them once, as one request. Raises `NotSentError`, and no other error."""

    def joins(self, delivery: Delivery) -> bool:
        """Whether the delivery is sent together with all others of which this is true."""


class HttpCalls:
    """Makes the requests of one subscription, and reports what came of each without its secrets."""

    def __init__(self, spec: SubscriptionSpec, http: OutgoingHttp, redactor: Redactor) -> None:
        self._spec, self._http, self._redactor = spec, http, redactor
        self._headers = {
            name: value.get_secret_value() for name, value in spec.headers.items() if not is_reserved(name)
        }

    async def call(self, body: bytes, headers: Mapping[str, str], now: datetime, *, method: str = "POST") -> Outcome:
        """Send `body` to the subscription's URL, with its own headers and `headers`. Raises `NotSentError`."""
        started = time.monotonic()
        every = {**self._headers, **headers}
        if tracing.on:
            every |= tracing.headers()
        url, timeout_s = self._spec.url or "", self._spec.timeout_s
        try:
            reply = await self._http.send(method, url, every, body, timeout_s=timeout_s, keep=_READ_MAX)
        except SendFailedError as error:
            if _is_local(error.__cause__):
                raise NotSentError(str(error)) from error
            return Outcome(DeliveryAttempt(now, _ms_since(started), error=self._clean(str(error))[:EXCERPT_MAX]))
        return self._outcome(reply, now, _ms_since(started))

    def _outcome(self, reply: Reply, started_at: datetime, took_ms: int) -> Outcome:
        text = reply.body.decode("utf-8", "replace")
        body = self._clean(text)[: -_UNSURE if reply.truncated else None]
        headers, body = self._kept(reply.headers), body[:EXCERPT_MAX]
        attempt = DeliveryAttempt(started_at, took_ms, reply.status, headers=headers, body=body)
        return Outcome(attempt, _retry_after(reply, started_at + timedelta(milliseconds=took_ms)))

    def _kept(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {name: self._clean(headers[name])[:_HEADER_MAX] for name in _HEADERS_KEPT if name in headers}

    def _clean(self, text: str) -> str:
        """Without secrets: a receiver may answer with what it was sent."""
        return APPROVAL_LINK.sub(rf"\g<1>{REDACTED}", self._redactor.clean(text)) if text else ""


class WebhookSender:
    """Sends deliveries as Standard Webhooks, each by itself."""

    def __init__(self, spec: SubscriptionSpec, http: OutgoingHttp, redactor: Redactor) -> None:
        """Make a sender. Raises ValueError if the subscription has no secret to sign with."""
        self._full, self._calls, self._signer = spec.payload == "full", HttpCalls(spec, http, redactor), signer_of(spec)

    async def send(self, deliveries: Sequence[Delivery], now: datetime) -> Outcome:
        """See `Sender.send`."""
        [delivery] = deliveries
        body, id = payload(delivery.message, self._full), ids.show(ids.MESSAGE, delivery.message.id)
        headers = {"Content-Type": "application/json", **self._signer.headers(id, body, now)}
        return await self._calls.call(body, headers, now)

    def joins(self, delivery: Delivery) -> bool:  # noqa: ARG002 - none does
        """See `Sender.joins`."""
        return False


def signer_of(spec: SubscriptionSpec) -> Signer:
    """Signs with the subscription's secrets. Raises ValueError if it has none."""
    current = [] if spec.secret is None else [(spec.secret.get_secret_value(), None)]
    retired = [(retired.secret.get_secret_value(), retired.until) for retired in spec.retired_secrets]
    return Signer([*current, *retired])


def is_reserved(name: str) -> bool:
    """Whether a header of this name is set here: a subscription's own must not replace it."""
    lower = name.lower()
    return lower in _RESERVED or lower.startswith(("webhook-", "proxy-"))


def _retry_after(reply: Reply, now: datetime) -> timedelta | None:
    """The wait that the receiver asks for; a date without a `Date` beside it is counted from now."""
    if "retry-after" not in reply.headers:
        return None
    headers = {"date": now.strftime("%a, %d %b %Y %H:%M:%S GMT"), **reply.headers}
    return bounded_wait(retry_after_s(HttpResponse(reply.status, headers, b"")))


def _ms_since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _is_local(error: BaseException | None) -> bool:
    """Whether this machine ran out of files, ports or memory."""
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    return isinstance(error, OSError) and error.errno in _LOCAL
