"""What to enter at PlanOmatic so that its webhooks arrive, and a sample of them."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec.structs import replace

from app.contract import HttpRequest, Setup, VerifyOptions
from app.kit.sample import simulated
from app.kit.setup import token_setup
from handlers.planomatic.config import Config
from handlers.planomatic.simulator import PlanOmatic

_EVENT = "event"
"""Under which key the simulator names the event."""


def setup(url: str, options: VerifyOptions, _config: Config) -> Setup:
    """PlanOmatic takes a URL and documents no signature: the token is part of the URL."""
    return token_setup(url, options, "In PlanOmatic's dashboard, where webhooks (V3) are set up.", "Webhook URL")


def sample(config: Config, now: datetime) -> HttpRequest:
    """A webhook about an order that was just placed, with its event named where the account expects it."""
    webhook = simulated(PlanOmatic(), now)
    body = msgspec.json.decode(webhook.body)
    if _EVENT not in config.event_keys:
        body = {config.event_keys[0]: body.pop(_EVENT), **body}
    return replace(webhook, body=msgspec.json.encode(body))
