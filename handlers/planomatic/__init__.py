"""PlanOmatic V3 (property photography), and the webhooks of its V2."""

from __future__ import annotations

from app.contract import Handler, Limits
from app.kit.signing import OPTIONS
from handlers.planomatic.cancel import cancel, probe
from handlers.planomatic.config import Config
from handlers.planomatic.payload import id_kind, other_names
from handlers.planomatic.rules import Rules, check, verdict
from handlers.planomatic.setup import sample, setup
from handlers.planomatic.simulator import PlanOmatic
from handlers.planomatic.webhook import parse, verify
from handlers.planomatic.words import WORDS

HANDLER = Handler(
    name="planomatic",
    title="PlanOmatic",
    docs=(
        "https://docs.planomatic.com/reference/cancel-order",
        "https://docs.planomatic.com/reference/retrieve-order",
        "https://docs.planomatic.com/reference/event-triggers",
        "https://docs.planomatic.com/reference/v3-order-status-webhook",
        "https://docs.planomatic.com/reference/validation-errors",
        "https://docs.planomatic.com/reference/api-basics",
        "https://api-docs.planomatic.com/v2.0/reference/events",
        "https://api-docs.planomatic.com/v2.0/reference/payload",
    ),
    config=Config,
    rules=Rules,
    limits=Limits(requests=100, per_s=60.0),
    verify=verify,
    verify_options=OPTIONS["token"],
    proof_in_headers=True,
    sample=sample,
    setup=setup,
    parse=parse,
    verdict=verdict,
    check=check,
    other_names=other_names,
    cancel=cancel,
    probe=probe,
    id_kind=id_kind,
    words=WORDS,
    private=frozenset(
        {
            "client",
            "property_access",
            "access_code",
            "notes",
            "order_notes",
            "special_instructions",
            "cancellation_reason_detail",
        }
    ),
    personal=frozenset({"metadata", "property", "property_info", "service_instructions"}),
    simulator=PlanOmatic,
)
