"""What the tests of this handler share: webhooks as Kibo sends them, and what is read out of them."""

from __future__ import annotations

import json
from typing import Any

from multidict import CIMultiDict

from app.contract import Ignored, InboundRequest, Parsed, ParsedEvent, Unrecognized
from handlers.kibo.config import Config
from handlers.kibo.webhook import parse

CONFIG = Config.model_validate({"tenant": "10001"})
ENTITY = "16a0f1c2d3b4e50001c0ffee"
EVENT = "aa8494c2-8640-47c0-96ca-a3a900336ca8"
AT = "2026-03-02T16:04:05.2500000Z"


def thin(topic: str, **more: Any) -> dict[str, Any]:
    """A webhook's body. A shipment names its order among its properties, an order is the entity itself."""
    is_order = topic.lower().startswith("order.")
    body = {
        "eventId": EVENT,
        "extendedProperties": [] if is_order else [{"key": "orderId", "value": ENTITY}],
        "topic": topic,
        "entityId": ENTITY if is_order else "1024",
        "timestamp": AT,
        "correlationId": "9902d7e03d9945918ee563f488435f16",
        "isTest": False,
    }
    return {**body, **more}


def read(body: Any, config: Config = CONFIG, headers: dict[str, str] | None = None) -> Parsed:
    """What comes of a webhook."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(InboundRequest(CIMultiDict(headers or {}), {}, raw), config)


def observe(body: Any, config: Config = CONFIG) -> ParsedEvent:
    """The one event in a webhook."""
    parsed = read(body, config)
    assert not isinstance(parsed, (Ignored, Unrecognized)), parsed.reason
    [seen] = parsed
    return seen
