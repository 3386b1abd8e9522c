"""Notices for Slack's incoming webhooks, in Block Kit.

Text that others wrote stands in `plain_text` objects, which know no markup, and `&`, `<`, `>` are escaped everywhere:
`<!channel>` calls nobody. Limits by Slack's documentation: a header 150 characters, a text 3,000, 10 fields of 2,000,
50 blocks; and about 13,000 characters in all, which it does not document (slackapi/bolt-js#2509).
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.core.outbound.notices.notice import Digest, Notice, Severity, one_line, shown_time

HEADER_CHARS_MAX = 150
FIELD_CHARS_MAX = 500
FALLBACK_CHARS_MAX = 300
LINE_CHARS_MAX = 250
"""How many characters a notice has in a digest."""
LINES_MAX = 20
"""Notices in a digest."""
LINK_CHARS_MAX = 2900
_MARKS = {
    Severity.INFO: "",
    Severity.WARNING: "\N{LARGE YELLOW CIRCLE} ",
    Severity.ERROR: "\N{LARGE RED CIRCLE} ",
    Severity.CRITICAL: "\N{LARGE RED CIRCLE} ",
}


def escape(text: str) -> str:
    """`text` with the characters escaped that begin a mention, a link or an entity in Slack."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def slack_body(notice: Notice) -> bytes:
    """The JSON of a notice."""
    blocks: list[dict[str, Any]] = [_header(_MARKS[notice.severity] + notice.title), _section(notice.text)]
    if notice.fields:
        fields = [_plain(f"{name}\n{value}", FIELD_CHARS_MAX) for name, value in notice.fields]
        blocks.append({"type": "section", "fields": fields})
    if notice.link is not None and len(notice.link.url) <= LINK_CHARS_MAX:
        blocks.append(_link(notice.link.url, notice.link.label))
    if notice.hint:
        blocks.append({"type": "context", "elements": [_plain(notice.hint, FIELD_CHARS_MAX)]})
    context = f"{notice.type} · {shown_time(notice.at)} · {notice.id}"
    blocks.append({"type": "context", "elements": [_plain(context, FIELD_CHARS_MAX)]})
    return _message(notice.title, blocks)


def slack_digest_body(digest: Digest) -> bytes:
    """The JSON of several notices in one message."""
    blocks = [_header(digest.title)]
    for notice in digest.notices[:LINES_MAX]:
        blocks.append(_section(one_line(f"{shown_time(notice.at)}: {notice.title}. {notice.text}", LINE_CHARS_MAX)))
        if notice.link is not None and len(notice.link.url) <= LINK_CHARS_MAX:
            blocks.append(_link(notice.link.url, notice.link.label))
    more = digest.more + max(0, len(digest.notices) - LINES_MAX)
    if more:
        blocks.append(_section(f"and {more} more"))
    counted = ", ".join(f"{type}: {number}" for type, number in digest.counts)
    blocks.append({"type": "context", "elements": [_plain(counted or digest.id, FIELD_CHARS_MAX)]})
    return _message(digest.title, blocks)


def _message(title: str, blocks: list[dict[str, Any]]) -> bytes:
    # `text` is what notifications show. Nobody is to open the links for a preview.
    top = {"text": escape(one_line(title, FALLBACK_CHARS_MAX)), "mrkdwn": False}
    return msgspec.json.encode({**top, "unfurl_links": False, "unfurl_media": False, "blocks": blocks})


def _header(text: str) -> dict[str, Any]:
    return {"type": "header", "text": _plain(text, HEADER_CHARS_MAX)}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _plain(text, 1000)}


def _link(url: str, label: str) -> dict[str, Any]:
    # A button would call an interactivity URL, which incoming webhooks lack.
    return {"type": "section", "text": {"type": "mrkdwn", "text": f"<{escape(url)}|{escape(label)}>"}}


def _plain(text: str, chars_max: int) -> dict[str, Any]:
    """A text without markup, within its length also when it is escaped."""
    escaped = escape(text)
    while len(escaped) > chars_max:
        text = text[: len(text) - max(1, (len(escaped) - chars_max) // 5)]
        escaped = escape(text) + "…"
    return {"type": "plain_text", "text": escaped, "emoji": False}
