"""Kibo (Mozu): retail order management, by its translated Cancel Order API."""

from __future__ import annotations

from app.contract import Handler, Limits
from handlers.kibo.cancel import cancel, probe
from handlers.kibo.config import Config
from handlers.kibo.payload import check_order, id_kind, other_names
from handlers.kibo.rules import Rules, check, verdict
from handlers.kibo.setup import sample, setup, sign_webhook
from handlers.kibo.signature import verify
from handlers.kibo.simulator import Kibo
from handlers.kibo.webhook import parse
from handlers.kibo.words import TITLE, WORDS

HANDLER = Handler(
    name="kibo",
    title=TITLE,
    docs=(
        "https://docs.kibocommerce.com/help/cancel-order",
        "https://docs.kibocommerce.com/help/event-notifications-overview",
        "https://docs.kibocommerce.com/help/event-subscription",
        "https://docs.kibocommerce.com/help/order-statuses",
    ),
    config=Config,
    rules=Rules,
    # No limit is documented: one call a second is cautious.
    limits=Limits(requests=60, per_s=60.0, concurrency=2),
    verify=verify,
    verify_options=frozenset({"header", "tolerance_s"}),
    sign=sign_webhook,
    sample=sample,
    setup=setup,
    parse=parse,
    verdict=verdict,
    check=check,
    check_order=check_order,
    other_names=other_names,
    cancel=cancel,
    probe=probe,
    id_kind=id_kind,
    words=WORDS,
    private=frozenset(
        {
            "customer",
            "customerAccountId",
            "email",
            "billingInfo",
            "fulfillmentInfo",
            "fulfillmentContact",
            "billingContact",
            "payments",
            "notes",
            "ipAddress",
        }
    ),
    simulator=Kibo,
)
