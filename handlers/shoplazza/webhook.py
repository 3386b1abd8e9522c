"""Parse Shoplazza's webhooks: each holds a whole order, and a header names its topic."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from app.contract import Ignored, InboundRequest, Parsed, ParsedEvent, Unrecognized
from app.kit.excerpts import NAME_CHARS_MAX, shown
from app.kit.payload import decode
from app.kit.sign import sign_hmac
from app.kit.signing import HmacScheme
from handlers.shoplazza.config import Config
from handlers.shoplazza.payload import facts_of, identify, occurred_at, unwrap
from handlers.shoplazza.words import OTHER_RESOURCES, TOPICS, UNINSTALLED

SIGNATURE_HEADER = "X-Shoplazza-Hmac-SHA256"
TOPIC_HEADER = "X-Shoplazza-Topic"
SHOP_HEADER = "X-Shoplazza-Shop-Domain"
DEDUPLICATION_HEADER = "X-Shoplazza-Deduplication-ID"

SIGNATURE = HmacScheme(SIGNATURE_HEADER, encoding="base64")
"""Base64 of HMAC-SHA256 over the raw body, by the app's client secret. No time is signed: the log drops replays."""
verify = SIGNATURE.verify
sign = partial(sign_hmac, SIGNATURE)


def parse(request: InboundRequest, config: Config) -> Parsed:
    """The one event that a webhook carries. Raises `MalformedPayload`."""
    shop = request.headers.get(SHOP_HEADER)
    if shop and not config.is_this_shop(shop):
        # One client secret signs for every shop that has the app: the webhook is authentic, but of another account.
        return Unrecognized(
            f"it is of the shop {shown(shop)}, and this account's is {config.host}: point its webhook to "
            "another endpoint, or add the domain to other_shop_domains"
        )
    name = (request.headers.get(TOPIC_HEADER) or "").strip().lower()
    topic = TOPICS.get(name)
    if topic is None:
        return _about_no_order(name)
    raw = request.body
    order = unwrap(decode(raw, "Shoplazza"))
    id = identify(order)
    facts = facts_of(order, topic, config, raw)
    moment = occurred_at(order, facts.phase, config)
    return (ParsedEvent(id, topic.type, _key(request, name, moment), facts, moment),)


def _about_no_order(name: str) -> Ignored | Unrecognized:
    if name == UNINSTALLED:
        return Ignored(
            "the app was uninstalled from the shop: its access_token is void, and cancels will be refused as "
            "unauthorized until the app is installed again and the account has its new token"
        )
    if name.partition("/")[0] in OTHER_RESOURCES:
        return Ignored(f"{name[:NAME_CHARS_MAX]} says nothing of an order: the subscription may be removed")
    if not name:
        return Unrecognized(f"the header {TOPIC_HEADER} is missing: a proxy in between may have removed it")
    return Unrecognized(
        f"Shoplazza documents no topic {shown(name)} of orders: delete its subscription, or add it to the handler"
    )


def _key(request: InboundRequest, topic: str, moment: datetime | None) -> bytes:
    """The event's key: Shoplazza's deduplication id, or else topic and body together.

    The signature covers the body alone, so that anyone who has a copy of a request can send it again under another id.
    The id counts only if the order says when it changed: then a repetition changes nothing.
    """
    given = request.headers.get(DEDUPLICATION_HEADER)
    is_timed = moment is not None and moment.tzinfo is not None
    if given and (is_timed or request.proven_headers is None):
        return b"id\0" + given.encode("utf-8", "surrogateescape")
    return f"body\0{topic}\0".encode() + request.body
