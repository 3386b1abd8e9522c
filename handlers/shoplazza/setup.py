"""What to enter at Shoplazza so that its webhooks arrive, and a sample of them."""

from __future__ import annotations

from datetime import datetime

from app.contract import HttpRequest, Setup, SetupField, VerifyOptions
from app.kit.sample import simulated
from handlers.shoplazza.config import Config
from handlers.shoplazza.simulator import Shoplazza
from handlers.shoplazza.words import TOPICS


def setup(url: str, _options: VerifyOptions, config: Config) -> Setup:
    """Shoplazza signs with the app's client secret, and takes one subscription for each topic by its API."""
    fields = (SetupField("Address", url), SetupField("Topics", "\n".join(TOPICS)))
    notes = (
        "Nothing need be entered by hand: keep_registered (or `rescind endpoints register`) subscribes by the API.",
        "The app's client secret signs the webhooks; it stands in the Partner Center, in the app's settings.",
    )
    return Setup(f"By Shoplazza's API, as a subscription of the app in {config.host}.", fields, notes)


def sample(config: Config, now: datetime) -> HttpRequest:
    """A webhook about an order that was just placed in this shop."""
    return simulated(Shoplazza(shop_domain=config.host), now)
