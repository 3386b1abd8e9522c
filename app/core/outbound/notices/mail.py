"""Notices as mails: text and simple HTML."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import sha256
from html import escape

from msgspec import Struct

from app.core.outbound.notices.notice import Digest, Link, Notice, one_line, shown_time

SUBJECT_CHARS_MAX = 150
LINES_MAX = 100
"""Notices in a digest."""
_STYLE = "font: 15px/1.5 system-ui, sans-serif; max-width: 40em"


class Letterhead(Struct, frozen=True):
    """What all mails of a subscription have in common."""

    sender: str
    """Address."""
    recipients: tuple[str, ...]
    subscription: str

    @property
    def domain(self) -> str:
        """The domain of the sender."""
        return self.sender.rpartition("@")[2]


def mail(notice: Notice, head: Letterhead) -> EmailMessage:
    """The mail of a notice."""
    thread = notice.alert.key if notice.alert is not None else None
    message = _mail(head, notice.id, notice.title, notice.at, thread)
    lines = [notice.text, ""]
    lines += [f"{name}: {value}" for name, value in notice.fields]
    if notice.link is not None:
        lines += ["", f"{notice.link.label}:", notice.link.url]
    if notice.hint:
        lines += ["", notice.hint]
    message.set_content("\n".join([*lines, "", *_footer(notice.id, head)]))
    html = [f"<h1 style='font-size: 20px'>{escape(notice.title)}</h1>", f"<p>{escape(notice.text)}</p>"]
    html += [
        _table(notice.fields),
        _button(notice.link),
        f"<p><code>{escape(notice.hint)}</code></p>" * bool(notice.hint),
    ]
    _add_html(message, html, _footer(notice.id, head))
    return message


def digest_mail(digest: Digest, head: Letterhead) -> EmailMessage:
    """The mail of several notices."""
    shown = digest.notices[:LINES_MAX]
    message = _mail(head, digest.id, digest.title, shown[-1].at, None)
    lines, html = [], [f"<h1 style='font-size: 20px'>{escape(digest.title)}</h1>", "<ul>"]
    for notice in shown:
        lines += [f"* {shown_time(notice.at)}: {notice.title}", f"  {notice.text}"]
        lines += [] if notice.link is None else [f"  {notice.link.url}"]
        time = f"<small>{escape(shown_time(notice.at))}</small><br>"
        html.append(f"<li>{time}<b>{escape(notice.title)}</b><br>{escape(notice.text)}{_button(notice.link)}</li>")
    more = digest.more + len(digest.notices) - len(shown)
    html.append("</ul>")
    if more:
        lines.append(f"and {more} more")
        html.append(f"<p>and {more} more</p>")
    counts = ", ".join(f"{type}: {number}" for type, number in digest.counts)
    message.set_content("\n".join([*lines, "", counts, "", *_footer(digest.id, head)]))
    _add_html(message, [*html, f"<p>{escape(counts)}</p>"], _footer(digest.id, head))
    return message


def _mail(head: Letterhead, id: str, title: str, at: datetime, thread: str | None) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"] = f"Rescind <{head.sender}>"
    message["To"] = ", ".join(head.recipients)
    message["Subject"] = one_line(title, SUBJECT_CHARS_MAX)
    message["Date"] = format_datetime(at)
    # The message's id, so that a mail that is sent once more is the same mail to its receivers.
    message["Message-ID"] = f"<{id}.{head.subscription}@{head.domain}>"
    if thread is not None:
        message["References"] = f"<{sha256(thread.encode()).hexdigest()[:32]}@{head.domain}>"
    message["List-Id"] = f"<{head.subscription}.rescind.{head.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    return message


def _add_html(message: EmailMessage, parts: Sequence[str], footer: Sequence[str]) -> None:
    foot = "".join(f"<br><small>{escape(line)}</small>" for line in footer)
    body = f"<!doctype html><html lang='en'><body style='{_STYLE}'>{''.join(parts)}<p>{foot}</p></body></html>"
    message.add_alternative(body, subtype="html")


def _table(fields: Sequence[tuple[str, str]]) -> str:
    cell = "padding: 2px 12px 2px 0; text-align: left; vertical-align: top"
    rows = (
        f"<tr><th style='{cell}'>{escape(name)}</th><td style='{cell}'>{escape(value)}</td></tr>"
        for name, value in fields
    )
    return f"<table>{''.join(rows)}</table>" if fields else ""


def _button(link: Link | None) -> str:
    return "" if link is None else f"<p><a href='{escape(link.url)}'>{escape(link.label)}</a></p>"


def _footer(id: str, head: Letterhead) -> tuple[str, str]:
    return (f"Message {id}, by subscription {head.subscription} of Rescind.", "Change or stop it there; do not reply.")
