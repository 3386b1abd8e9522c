"""The orders of a fictional provider. Replace: whose orders these are."""

from __future__ import annotations

from app.contract import Handler, Limits
from app.dev.skeleton.cancel import cancel, probe
from app.dev.skeleton.config import Config
from app.dev.skeleton.rules import Rules, check, verdict
from app.dev.skeleton.simulator import Simulator
from app.dev.skeleton.webhook import parse, sign, verify
from app.dev.skeleton.words import STATUSES, TITLE

HANDLER = Handler(
    name="skeleton",
    title=TITLE,
    # Replace: the public pages that everything here was read from.
    docs=("https://docs.example.com/webhooks", "https://docs.example.com/orders"),
    config=Config,
    rules=Rules,
    # Replace: how often one account may call. A leaky bucket is Limits(burst=40, rate_per_s=2).
    limits=Limits(requests=60, per_s=60.0),
    verify=verify,
    # Replace: the fields of VerifyOptions that `verify` uses, apart from secrets.
    verify_options=frozenset({"header", "tolerance_s"}),
    sign=sign,
    parse=parse,
    verdict=verdict,
    check=check,
    cancel=cancel,
    # Replace: by None if the provider has no call that returns an order.
    probe=probe,
    words=STATUSES,
    # Replace: the fields of webhooks with personal data and access codes; they are masked when receipts are shown.
    private=frozenset({"customer", "note"}),
    # Add: the names of attributes that events keep, and that may say something of people; retention erases them.
    personal=frozenset(),
    simulator=Simulator,
)
