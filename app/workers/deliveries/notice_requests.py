"""The one place where messages become what a format for people sends. Pure: no clock, no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from email.message import EmailMessage

import msgspec
from msgspec import Struct

from app.config.approval_links import LABEL
from app.config.formats import recipients
from app.config.subscriptions import SubscriptionSpec
from app.core.outbound.message import Message
from app.core.outbound.notices.mail import Letterhead, digest_mail, mail
from app.core.outbound.notices.notice import Link, Notice, one_line
from app.core.outbound.notices.pagerduty import pagerduty_body
from app.core.outbound.notices.slack import slack_body, slack_digest_body
from app.core.outbound.notices.template import render_template
from app.core.outbound.notices.texts import digest_of, notice_of
from app.core.outbound.notices.values import digest_values, notice_values, template_values
from app.core.outbound.types import POLICY_PROPOSED
from app.runtime import ids

LinkTo = Callable[[str, str, datetime], str | None]
"""(cancellation, subscription, until) → the link to its approval; None without a public URL."""
HEADER_VALUE_MAX = 1000
SOURCE = "rescind"


class OutboundRequest(Struct, frozen=True):
    """An HTTP request, but for the URL and the headers that the subscription has."""

    method: str
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        """Without headers and body, which may hold secrets."""
        return f"OutboundRequest({self.method})"


def notices_of(spec: SubscriptionSpec, messages: Sequence[Message], link_to: LinkTo) -> list[Notice]:
    """What people are told of each message, with a link where it asks for an approval."""
    return [
        notice_of(ids.show(ids.MESSAGE, message.id), message, _link(spec, message, link_to)) for message in messages
    ]


def _link(spec: SubscriptionSpec, message: Message, link_to: LinkTo) -> Link | None:
    if message.type != POLICY_PROPOSED:
        return None
    data = msgspec.json.decode(message.data)
    if data.get("test"):
        return None
    url = link_to(data["cancellation"], spec.id, datetime.fromisoformat(data["approve_until"]))
    return None if url is None else Link(LABEL, url)


def http_request(
    spec: SubscriptionSpec, messages: Sequence[Message], link_to: LinkTo, source: str = SOURCE
) -> OutboundRequest:
    """The request for one message, or for several that are told as one. Raises `InvalidTemplateError`."""
    notices = notices_of(spec, messages, link_to)
    if spec.template is not None:
        return _by_template(spec, messages, notices)
    if spec.routing_key is not None:
        body = pagerduty_body(notices[0], spec.routing_key.get_secret_value(), source)
    elif len(notices) == 1:
        body = slack_body(notices[0])
    else:
        body = slack_digest_body(digest_of(notices))
    return OutboundRequest("POST", {"Content-Type": "application/json"}, body)


def mail_message(spec: SubscriptionSpec, messages: Sequence[Message], link_to: LinkTo, sender: str) -> EmailMessage:
    """The mail for one message, or for several that are told as one."""
    notices = notices_of(spec, messages, link_to)
    head = Letterhead(sender, recipients(spec.url or ""), spec.id)
    return mail(notices[0], head) if len(notices) == 1 else digest_mail(digest_of(notices), head)


def _by_template(spec: SubscriptionSpec, messages: Sequence[Message], notices: Sequence[Notice]) -> OutboundRequest:
    template, full = spec.template, spec.payload == "full"
    assert template is not None  # noqa: S101 - asked before
    if len(notices) == 1:
        told = notice_values(notices[0], messages[0], full=full)
        values = template_values(told, [told])
    else:
        digest = digest_of(list(notices))
        each = [notice_values(notice, message, full=full) for notice, message in zip(notices, messages, strict=True)]
        values = template_values(digest_values(digest), each[: len(digest.notices)])
    headers = {
        name: one_line(render_template(text, values), HEADER_VALUE_MAX).strip()
        for name, text in template.headers.items()
    }
    body = render_template(template.body, values).encode()
    return OutboundRequest(template.method, {**headers, "Content-Type": template.content_type}, body)
