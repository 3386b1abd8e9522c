"""Senders of the formats for people: HTTP and mail."""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.config.approval_links import ApprovalLinks
from app.config.subscriptions import SubscriptionSpec
from app.core.outbound.delivery import Delivery, DeliveryAttempt
from app.core.outbound.message import Message
from app.core.outbound.notices.template import InvalidTemplateError
from app.core.outbound.outcome import Outcome
from app.core.outbound.types import OUTBOUND_TYPES
from app.runtime import ids
from app.runtime.mail import MailRefusedError, SmtpServer, send_mail
from app.runtime.outgoing import OutgoingHttp
from app.runtime.redaction import Redactor
from app.workers.deliveries.notice_requests import SOURCE, http_request, mail_message
from app.workers.deliveries.send import EXCERPT_MAX, HttpCalls, Sender, WebhookSender, signer_of

_NO_SERVER = "no mail can be sent: set RESCIND_SMTP_URL and RESCIND_MAIL_FROM, and start Rescind again"


@dataclass(frozen=True, slots=True)
class Senders:
    """Makes the senders of subscriptions."""

    http: OutgoingHttp
    redactor: Redactor
    links: ApprovalLinks
    smtp: SmtpServer | None = None
    mail_from: str = ""
    source: str = SOURCE
    tls: ssl.SSLContext | None = None
    """Certificate authorities for the mail server; None: the system's."""

    def make(self, spec: SubscriptionSpec) -> Sender:
        """The sender of a subscription. Raises ValueError if nothing can be sent."""
        if spec.format == "standard":
            return WebhookSender(spec, self.http, self.redactor)
        return MailSender(spec, self) if spec.format == "email" else NoticeSender(spec, self)


class _Gathering:
    """Which deliveries of a subscription are told as one."""

    def __init__(self, spec: SubscriptionSpec) -> None:
        self._spec, self._schedule = spec, spec.delays if spec.format != "pagerduty" else None

    def joins(self, delivery: Delivery) -> bool:
        """See `Sender.joins`."""
        type = OUTBOUND_TYPES.get(delivery.message.type)
        urgent = type is not None and type.urgent
        return self._schedule is not None and not self._schedule.is_urgent(delivery.message.type, by_default=urgent)

    @staticmethod
    def messages(deliveries: Sequence[Delivery]) -> list[Message]:
        """Their messages, in the order of time."""
        return sorted((delivery.message for delivery in deliveries), key=lambda message: message.id)


class NoticeSender(_Gathering):
    """Sends notices over HTTP: to Slack, PagerDuty, or by template."""

    def __init__(self, spec: SubscriptionSpec, senders: Senders) -> None:
        """Make a sender. Raises ValueError if the subscription is to be signed and has no secret."""
        super().__init__(spec)
        self._links, self._source = senders.links, senders.source
        self._calls = HttpCalls(spec, senders.http, senders.redactor)
        self._signer = signer_of(spec) if spec.format == "template" else None

    async def send(self, deliveries: Sequence[Delivery], now: datetime) -> Outcome:
        """See `Sender.send`."""
        messages = self.messages(deliveries)
        try:
            request = http_request(self._spec, messages, self._links.url, self._source)
        except InvalidTemplateError as error:
            return Outcome(DeliveryAttempt(now, 0, error=f"the template failed: {error}"[:EXCERPT_MAX]))
        headers = request.headers
        if self._signer is not None:
            headers = {**headers, **self._signer.headers(ids.show(ids.MESSAGE, messages[0].id), request.body, now)}
        return await self._calls.call(request.body, headers, now, method=request.method)


class MailSender(_Gathering):
    """Sends notices as mails."""

    def __init__(self, spec: SubscriptionSpec, senders: Senders) -> None:
        super().__init__(spec)
        self._senders = senders

    async def send(self, deliveries: Sequence[Delivery], now: datetime) -> Outcome:
        """See `Sender.send`. The status of the attempt is the mail server's reply code."""
        senders, started = self._senders, time.monotonic()
        if senders.smtp is None or not senders.mail_from:
            return Outcome(DeliveryAttempt(now, 0, error=_NO_SERVER))
        message = mail_message(self._spec, self.messages(deliveries), senders.links.url, senders.mail_from)
        code: int | None = 250
        try:
            reply = await send_mail(message, senders.smtp, self._spec.timeout_s, senders.tls)
        except MailRefusedError as refusal:
            code, reply = refusal.code, str(refusal)
        took_ms, text = round((time.monotonic() - started) * 1000), senders.redactor.clean(reply)[:EXCERPT_MAX]
        if code is None:
            return Outcome(DeliveryAttempt(now, took_ms, error=text))
        return Outcome(DeliveryAttempt(now, took_ms, code, body=text))
