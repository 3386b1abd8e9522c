"""Shoplazza (shops), OpenAPI 2022-01."""

from __future__ import annotations

from app.contract import Handler, Limits
from app.kit.signing import OPTIONS
from handlers.shoplazza.cancel import cancel, probe
from handlers.shoplazza.config import Config
from handlers.shoplazza.registration import register, registrations, unregister
from handlers.shoplazza.rules import Rules, check, verdict
from handlers.shoplazza.setup import sample, setup
from handlers.shoplazza.simulator import Shoplazza
from handlers.shoplazza.webhook import parse, sign, verify
from handlers.shoplazza.words import TOPICS, WORDS

HANDLER = Handler(
    name="shoplazza",
    title="Shoplazza",
    docs=(
        "https://www.shoplazza.dev/reference/openapi2022-01ordersidcancel",
        "https://www.shoplazza.dev/reference/order-details-3",
        "https://www.shoplazza.dev/reference/order-list-3",
        "https://www.shoplazza.dev/reference/supported-webhook-events",
        "https://www.shoplazza.dev/reference/webhook-properties",
        "https://www.shoplazza.dev/reference/webhook-best-practices",
        "https://www.shoplazza.dev/reference/create-webhook-copy",
        "https://www.shoplazza.dev/reference/webhook-list-copy",
        "https://www.shoplazza.dev/reference/api-rate-limits",
        "https://www.shoplazza.dev/api/202201/openapi",
    ),
    config=Config,
    rules=Rules,
    # One app in one shop: 40 calls at once, and 2 more each second.
    limits=Limits(burst=40, rate_per_s=2.0),
    verify=verify,
    verify_options=OPTIONS["shopify"],
    signed_headers=frozenset(),
    sign=sign,
    sample=sample,
    setup=setup,
    parse=parse,
    verdict=verdict,
    check=check,
    cancel=cancel,
    probe=probe,
    topics=lambda _: tuple(TOPICS),
    registrations=registrations,
    register=register,
    unregister=unregister,
    words=WORDS,
    private=frozenset(
        {
            "customer",
            "shipping_address",
            "billing_address",
            "payment_line",
            "payment_lines",
            "note",
            "customer_note",
            "browser_ip",
            "email",
            "phone",
        }
    ),
    personal=frozenset({"tags"}),
    simulator=Shoplazza,
)
