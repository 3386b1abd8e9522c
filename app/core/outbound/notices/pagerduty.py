"""Notices as events of PagerDuty's Events API v2, which other services for people on call accept as well."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from app.core.outbound.notices.notice import Notice, Severity

SUMMARY_CHARS_MAX = 1024
KEY_CHARS_MAX = 255


def pagerduty_body(notice: Notice, routing_key: str, source: str) -> bytes:
    """The JSON of an event: a trigger, or the resolve that matches an earlier one.

    Args:
        notice: what to tell.
        routing_key: the integration key, a secret.
        source: the affected system, such as this server's URL.
    """
    key = dedup_key(notice)
    head = {"routing_key": routing_key, "dedup_key": key, "client": "Rescind"}
    if notice.alert is not None and notice.alert.ends:
        return msgspec.json.encode({**head, "event_action": "resolve"})
    payload = {
        "summary": _summary(notice),
        "source": source,
        "severity": Severity.INFO if notice.test else notice.severity,
        "timestamp": notice.at,
        "component": notice.account or "rescind",
        "class": notice.type,
        "custom_details": {
            **dict(notice.fields),
            "message": notice.id,
            **({"next": notice.hint} if notice.hint else {}),
        },
    }
    event: dict[str, Any] = {**head, "event_action": "trigger", "payload": payload}
    if notice.link is not None:
        event["links"] = [{"href": notice.link.url, "text": notice.link.label}]
    return msgspec.json.encode(event)


def dedup_key(notice: Notice) -> str:
    """The same for the messages of one condition; without one the message's own, so that a retry adds nothing."""
    key = f"rescind:{notice.id}" if notice.alert is None else f"rescind:{notice.alert.key}"
    return key if len(key) <= KEY_CHARS_MAX else f"rescind:{sha256(key.encode()).hexdigest()}"


def _summary(notice: Notice) -> str:
    text = f"{notice.title}: {notice.text}"
    return text if len(text) <= SUMMARY_CHARS_MAX else text[: SUMMARY_CHARS_MAX - 1] + "…"
