"""What a template can read: the notice, and the message it is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.core.outbound.message import Message
from app.core.outbound.notices.notice import Digest, Notice

MEMBERS = ("id", "type", "timestamp", "account")
"""The members of `message`."""


def notice_values(notice: Notice, message: Message, *, full: bool = False) -> dict[str, Any]:
    """The members of `notice` for one message; with `full`, `data` has also the order as it was."""
    data = msgspec.json.decode(message.data)
    if full:
        data["snapshot"] = None if message.snapshot is None else msgspec.json.decode(message.snapshot)
    return {
        "id": notice.id,
        "type": notice.type,
        "timestamp": notice.at.isoformat(),
        "account": notice.account,
        "title": notice.title,
        "text": notice.text,
        "severity": str(notice.severity),
        "fields": [{"name": name, "value": value} for name, value in notice.fields],
        "link": None if notice.link is None else notice.link.url,
        "link_text": None if notice.link is None else notice.link.label,
        "hint": notice.hint,
        "test": notice.test,
        "more": 0,
        "data": data,
    }


def digest_values(digest: Digest) -> dict[str, Any]:
    """The members of `notice` for several that are told as one; its type is `digest`."""
    return {
        "id": digest.id,
        "type": "digest",
        "timestamp": digest.notices[-1].at.isoformat(),
        "account": "",
        "title": digest.title,
        "text": ", ".join(f"{type}: {number}" for type, number in digest.counts),
        "severity": str(digest.severity),
        "fields": [{"name": type, "value": str(number)} for type, number in digest.counts],
        "link": None,
        "link_text": None,
        "hint": "",
        "test": all(notice.test for notice in digest.notices),
        "more": digest.more,
        "data": {},
    }


def template_values(told: Mapping[str, Any], notices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The values of a template.

    Args:
        told: what is told as a whole.
        notices: the notices that it consists of; one, or those of a digest.
    """
    return {
        "notice": dict(told),
        "notices": [dict(notice) for notice in notices],
        "message": {name: told[name] for name in MEMBERS},
        "data": told["data"],
    }
