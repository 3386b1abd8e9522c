"""What handlers make of their own fixtures, some fields of which are otherwise."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from contract.handler_cases import config_of, folder, inbound, observed

from app.config.registry import handlers
from app.contract import Order, ParsedEvent, Source
from app.core.event import to_event
from app.core.order import fold
from app.core.policy.duplicates import fingerprint

NOW = datetime(2026, 3, 2, 17, tzinfo=UTC)
_WRAPPERS = ("order", "data")


def read(provider: str, fixture: str, **changes: Any) -> ParsedEvent:
    """The one event in a fixture's webhook, whose order has `changes`."""
    handler = handlers()[provider]
    given = json.loads((folder(handler) / f"{fixture}.json").read_text(encoding="utf-8"))
    request = given["request"]
    body = request["body"]
    next((body[key] for key in _WRAPPERS if isinstance(body.get(key), dict)), body).update(changes)
    webhook = inbound(request["headers"], body, request["query"])
    [seen] = observed(handler.parse(webhook, config_of(handler, given.get("config"))))
    return seen


def order_of(provider: str, fixture: str, **changes: Any) -> Order:
    """The order of which that webhook was all that was heard."""
    event = to_event(read(provider, fixture, **changes), "account", NOW, Source.WEBHOOK, None)
    return fold("account", event.order, [event])[0]


def mark(provider: str, order: Order, **rules: Any) -> int | None:
    """What makes the order the same as another one by the handler's rules."""
    return fingerprint(order, handlers()[provider].rules.model_validate(rules).duplicate_keys)
