"""NotPanel v2, a panel for social media marketing; its API is one that many such panels have."""

from __future__ import annotations

from app.contract import Handler, Limits
from handlers.notpanel.calls import BATCH_MAX
from handlers.notpanel.cancel import cancel
from handlers.notpanel.config import Config
from handlers.notpanel.probe import probe
from handlers.notpanel.registration import register, registrations, unregister
from handlers.notpanel.rules import Rules, check, verdict
from handlers.notpanel.setup import sample, setup
from handlers.notpanel.simulator import NotPanel
from handlers.notpanel.webhook import parse, sign, verify
from handlers.notpanel.words import REGISTERED_EVENTS, WORDS

HANDLER = Handler(
    name="notpanel",
    title="NotPanel",
    docs=(
        "https://notpanel.com/developers/cancel",
        "https://notpanel.com/developers/order-status",
        "https://notpanel.com/developers/errors",
        "https://notpanel.com/developers/rate-limits",
        "https://notpanel.com/developers/authentication",
        "https://notpanel.com/developers/webhooks",
        "https://notpanel.com/developers/add-order",
        "https://notpanel.com/developers/balance",
        "https://notpanel.com/developers/refill",
    ),
    config=Config,
    rules=Rules,
    limits=Limits(requests=100, per_s=60.0),
    verify=verify,
    verify_options=frozenset({"header", "encoding", "prefix", "timestamp_header", "signed", "tolerance_s"}),
    sign=sign,
    sample=sample,
    setup=setup,
    parse=parse,
    verdict=verdict,
    check=check,
    cancel=cancel,
    probe=probe,
    cancel_batch_max=BATCH_MAX,
    probe_batch_max=BATCH_MAX,
    topics=lambda _: REGISTERED_EVENTS,
    registrations=registrations,
    register=register,
    unregister=unregister,
    words=WORDS,
    private=frozenset({"link", "user", "username", "email"}),
    simulator=NotPanel,
)
