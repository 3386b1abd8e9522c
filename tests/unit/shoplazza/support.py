"""What the tests of this handler share: an order object, and reading one webhook."""

from __future__ import annotations

import json
from typing import Any

from multidict import CIMultiDict

from app.contract import Ignored, InboundRequest, Parsed, ParsedEvent, Unrecognized
from handlers.shoplazza.config import Config
from handlers.shoplazza.webhook import parse

SECRET = "a-client-secret"
TOKEN = "an-access-token"
GIVEN: dict[str, Any] = {"shop_domain": "acme", "access_token": TOKEN, "client_secret": SECRET}
CONFIG = Config.model_validate(GIVEN)
ID = "633130-00000004"


def make(**more: Any) -> Config:
    """A config with some of its fields otherwise."""
    return Config.model_validate({**GIVEN, **more})


def order(**more: Any) -> dict[str, Any]:
    """A paid order that waits to be shipped."""
    return {
        "id": ID,
        "number": "EX1001",
        "status": "placed",
        "financial_status": "paid",
        "fulfillment_status": "waiting",
        "updated_at": "2026-03-02T16:03:40Z",
        "canceled_at": None,
        **more,
    }


def receive(body: Any, topic: str | None = "orders/update", config: Config = CONFIG, **headers: str) -> Parsed:
    """What comes of one delivery; underscores in the names of headers become hyphens."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    if topic is not None:
        given["X-Shoplazza-Topic"] = topic
    return parse(InboundRequest(given, {}, raw), config)


def observe(body: Any, topic: str = "orders/update", config: Config = CONFIG, **headers: str) -> ParsedEvent:
    """The one event in a delivery."""
    parsed = receive(body, topic, config, **headers)
    assert not isinstance(parsed, (Ignored, Unrecognized)), parsed.reason
    [seen] = parsed
    return seen
