"""Sends one delivery as a webhook."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

import aiohttp

from app.config.subscriptions import SubscriptionSpec
from app.contract import HttpResponse
from app.core.outbound.delivery import Delivery, DeliveryAttempt
from app.core.outbound.outcome import Outcome, bounded_wait
from app.core.outbound.signing import Signer
from app.core.outbound.types import payload
from app.kit.responses import retry_after_s
from app.runtime import ids
from app.runtime.outgoing import OutgoingHttp, Reply, SendFailedError
from app.runtime.redaction import Redactor

EXCERPT_MAX = 1000
"""Characters of a response's body that are kept."""
_READ_MAX = 2048
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

    async def send(self, delivery: Delivery, now: datetime) -> Outcome:
        """Send it once. Raises `NotSentError`, and no other error."""


class WebhookSender:
    """Sends deliveries as Standard Webhooks."""

    def __init__(self, spec: SubscriptionSpec, http: OutgoingHttp, redactor: Redactor) -> None:
        """Make a sender. Raises ValueError if the subscription has no secret to sign with."""
        self._spec, self._http, self._redactor = spec, http, redactor
        self._signer = signer_of(spec)
        self._headers = {
            name: value.get_secret_value() for name, value in spec.headers.items() if not is_reserved(name)
        }

    async def send(self, delivery: Delivery, now: datetime) -> Outcome:
        """See `Sender.send`."""
        body = payload(delivery.message, self._spec.payload == "full")
        id = ids.show(ids.MESSAGE, delivery.message.id)
        headers = {
            **self._headers,
            "Content-Type": "application/json",
            **self._signer.headers(id, body, now),
        }
        started = time.monotonic()
        try:
            reply = await self._http.send(
                "POST", self._spec.url or "", headers, body, timeout_s=self._spec.timeout_s, keep=_READ_MAX
            )
        except SendFailedError as error:
            if _is_local(error.__cause__):
                raise NotSentError(str(error)) from error
            text = self._redactor.clean(str(error))[:EXCERPT_MAX]
            return Outcome(DeliveryAttempt(now, _ms_since(started), error=text))
        return self._outcome(reply, now, _ms_since(started))

    def _outcome(self, reply: Reply, started_at: datetime, took_ms: int) -> Outcome:
        text = reply.body.decode("utf-8", "replace").replace("\0", "\ufffd")
        attempt = DeliveryAttempt(
            started_at,
            took_ms,
            reply.status,
            headers=self._kept(reply.headers),
            body=self._redactor.clean(text)[:EXCERPT_MAX] if text else "",
        )
        return Outcome(attempt, _retry_after(reply, started_at + timedelta(milliseconds=took_ms)))

    def _kept(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {name: self._redactor.clean(headers[name])[:_HEADER_MAX] for name in _HEADERS_KEPT if name in headers}


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
