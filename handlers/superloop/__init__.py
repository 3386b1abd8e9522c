"""Superloop Connect (broadband wholesale)."""

from __future__ import annotations

from app.contract import Handler, Limits
from app.kit.signing import OPTIONS
from handlers.superloop.cancel import cancel, probe
from handlers.superloop.config import Config
from handlers.superloop.rules import Rules, check, verdict
from handlers.superloop.setup import setup
from handlers.superloop.simulator import Superloop
from handlers.superloop.webhook import parse, verify
from handlers.superloop.words import WORDS

HANDLER = Handler(
    name="superloop",
    title="Superloop",
    docs=(
        "https://connect-api-doc.superloop.com/api/endpoints/orders-cancel.html",
        "https://connect-api-doc.superloop.com/api/authentication.html",
        "https://connect-api-doc.superloop.com/api/endpoints/orders-create.html",
        "https://connect-api-doc.superloop.com/webhooks/appointment-cancelled.html",
        "https://connect-api-doc.superloop.com/index.html",
    ),
    config=Config,
    rules=Rules,
    limits=Limits(requests=60, per_s=60.0, concurrency=4),
    verify=verify,
    verify_options=OPTIONS["token"],
    proof_in_headers=True,
    setup=setup,
    parse=parse,
    verdict=verdict,
    check=check,
    cancel=cancel,
    probe=probe,
    words=WORDS,
    private=frozenset({"contact", "contacts", "address"}),
    personal=frozenset({"customerRef", "locId", "serviceId", "rejectedReason"}),
    simulator=Superloop,
)
