"""What to enter at NotPanel so that its webhooks arrive, and a sample of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from app.contract import HttpRequest, Setup, SetupField, VerifyOptions
from app.kit.sample import simulated
from handlers.notpanel.config import Config
from handlers.notpanel.simulator import NotPanel
from handlers.notpanel.words import REGISTERED_EVENTS

ORDER = "ord_rescind_test"


def setup(url: str, _options: VerifyOptions, _config: Config) -> Setup:
    """NotPanel takes a URL and events by its API, and responds with the secret."""
    fields = (
        SetupField("action", "webhook.add"),
        SetupField("url", url),
        SetupField("events", ",".join(REGISTERED_EVENTS)),
    )
    note = (
        "Nothing need be entered by hand: keep_registered (or `rescind endpoints register`) adds the webhook by the "
        "API, and stores the secret that the response shows."
    )
    return Setup("By NotPanel's API (POST /api/v2), or in its dashboard under Webhooks.", fields, (note,))


def sample(config: Config, now: datetime) -> HttpRequest:
    """A webhook about an order that was completed, under the keys that the account expects."""
    actions = [{"do": action, "order_id": ORDER} for action in ("create_order", "complete")]
    webhook = simulated(NotPanel(), now, *actions)
    body: dict[str, Any] = msgspec.json.decode(webhook.body)
    if "event" not in config.event_keys:
        body = {config.event_keys[0]: body.pop("event"), **body}
    if "order" not in config.order_keys:
        body["data"] = {config.order_keys[0]: body["data"].pop("order"), **body["data"]}
    return replace(webhook, body=msgspec.json.encode(body))
