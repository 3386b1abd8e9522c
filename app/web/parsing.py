"""Parsing of webhooks: from an authentic request to the commands that record its events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import msgspec
import structlog

from app.config.resolve import Account
from app.contract import (
    RESERVED_EVENT_PREFIXES,
    Ignored,
    InboundRequest,
    MalformedPayload,
    ParsedEvent,
    Source,
    Unrecognized,
)
from app.core.commands import RecordEvents
from app.core.event import Event, has_naive_time, name_with_nul, to_event
from app.core.event_types import OPENING_UNREADABLE, TIMES_WITHOUT_OFFSET
from app.kit.storable import storable
from app.web.received import CONTENT_ENCODING, uncompressed

LARGE_BODY = 32_768
"""In bytes. Parsing takes up to a microsecond a byte, depending on the paths that an account is configured with."""
_PARSER = ThreadPoolExecutor(1, thread_name_prefix="webhook-parser")
"""A thread of its own: the default executor also looks up host names, which large webhooks must not delay."""
log = structlog.get_logger()


class ParsedWebhook(msgspec.Struct):
    """What a request was parsed to."""

    status: str
    """accepted, ignored or quarantined."""
    reason: str = ""
    cause: str = ""
    """Why it is quarantined, in a word: unknown_event, malformed, handler_failed."""
    commands: tuple[RecordEvents, ...] = ()
    notices: tuple[str, ...] = ()
    """Types of the events that tell the operator what to change in the account."""


async def parse_off_loop(
    account: Account, inbound: InboundRequest, received_at: datetime, receipt: str, body_max: int
) -> ParsedWebhook:
    """`parse_webhook`, in a thread if the body is large or compressed, so that the event loop does not stand still."""
    if len(inbound.body) <= LARGE_BODY and CONTENT_ENCODING not in inbound.headers:
        return parse_webhook(account, inbound, received_at, receipt, body_max)
    arguments = (account, inbound, received_at, receipt, body_max)
    return await asyncio.get_running_loop().run_in_executor(_PARSER, parse_webhook, *arguments)


def parse_webhook(
    account: Account, inbound: InboundRequest, received_at: datetime, receipt: str, body_max: int
) -> ParsedWebhook:
    """Parse an authentic webhook. Never raises: what cannot be parsed is quarantined."""
    try:
        if CONTENT_ENCODING in inbound.headers:
            inbound = uncompressed(inbound, body_max)
        parsed = account.handler.parse(inbound, account.config)
        if isinstance(parsed, Ignored):
            return ParsedWebhook("ignored", storable(parsed.reason))
        if isinstance(parsed, Unrecognized):
            return ParsedWebhook("quarantined", storable(parsed.reason), "unknown_event")
        if not parsed:
            return ParsedWebhook("ignored", "it holds no events")
        commands = _commands(account.spec.id, parsed, received_at, receipt)
        return ParsedWebhook("accepted", commands=commands, notices=_notices(parsed))
    except MalformedPayload as error:
        return ParsedWebhook("quarantined", storable(str(error)), "malformed")
    except Exception as error:
        log.exception("handler_failed", account=account.spec.id, receipt=receipt)
        reason = f"handler {account.handler.name} failed: {type(error).__name__}: {error}"
        return ParsedWebhook("quarantined", storable(reason), "handler_failed")


def _notices(parsed: Sequence[ParsedEvent]) -> tuple[str, ...]:
    naive, unreadable = any(map(has_naive_time, parsed)), any(event.facts.unreadable for event in parsed)
    if not (naive or unreadable):
        return ()
    return (TIMES_WITHOUT_OFFSET,) * naive + (OPENING_UNREADABLE,) * unreadable


def _commands(
    account: str, parsed: Sequence[ParsedEvent], received_at: datetime, receipt: str
) -> tuple[RecordEvents, ...]:
    by_order: dict[str, list[Event]] = {}
    for event in parsed:
        if event.type.startswith(RESERVED_EVENT_PREFIXES):
            raise MalformedPayload(f"events of type {event.type!r} are reserved for Rescind: use another type")
        odd = name_with_nul(event)
        if odd is not None:
            raise MalformedPayload(f"the name {odd!r} holds a NUL character, which cannot be stored")
        stamped = to_event(event, account, received_at, Source.WEBHOOK, receipt)
        by_order.setdefault(event.order, []).append(stamped)
    return tuple(RecordEvents(account, order, received_at, tuple(events)) for order, events in by_order.items())
