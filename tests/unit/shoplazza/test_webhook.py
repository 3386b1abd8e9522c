from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from multidict import CIMultiDict
from pydantic import SecretStr
from unit.shoplazza.support import ID, SECRET, make, observe, order, receive

from app.contract import Ignored, InboundRequest, Phase, Source, Unrecognized, VerificationError, VerifyOptions
from app.core.event import to_event
from app.core.order import fold
from handlers.shoplazza import HANDLER
from handlers.shoplazza.webhook import verify
from handlers.shoplazza.words import (
    FINANCIAL_STATUSES,
    FULFILLMENT_STATUSES,
    ORDER_STATUSES,
    OTHER_RESOURCES,
    TOPICS,
    WORDS,
)

NOW = datetime(2026, 3, 2, 17, tzinfo=UTC)
BODY = json.dumps({"order": order()}).encode()


def signature(body: bytes = BODY, secret: str = SECRET) -> str:
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def prove(headers: dict[str, str], body: bytes = BODY, **options: Any) -> None:
    request = InboundRequest(CIMultiDict(headers), {}, body)
    verify(request, VerifyOptions(secrets=(SecretStr(SECRET),), **options), NOW)


# -- Who sent it -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["X-Shoplazza-Hmac-SHA256", "X-Shoplazza-Hmac-Sha256", "x-shoplazza-hmac-sha256"])
def test_the_signature_is_base64_of_the_hmac_of_the_raw_body(name: str) -> None:
    prove({name: signature()})


@pytest.mark.parametrize(
    "given",
    [
        "",
        signature(secret="another"),
        signature(BODY + b" "),
        signature().lower(),
        signature().rstrip("="),
        hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest(),
        f"sha256={signature()}",
        "\udcff",
    ],
)
def test_no_other_signature_is_taken(given: str) -> None:
    with pytest.raises(VerificationError):
        prove({"X-Shoplazza-Hmac-SHA256": given})


def test_the_header_is_the_endpoint_s_to_name() -> None:
    prove({"X-Signature": signature()}, header="X-Signature")
    with pytest.raises(VerificationError, match="X-Shoplazza-Hmac-SHA256 is missing"):
        prove({"X-Signature": signature()})


# -- What it is about ------------------------------------------------------------------------


def test_the_documented_words() -> None:
    assert list(TOPICS) == list(HANDLER.topics(None))
    assert {topic.removeprefix("orders/") for topic in TOPICS} == {
        *("create", "update", "paid", "partially_fulfilled", "fulfilled", "finished", "partially_refunded", "refunded"),
        *("cancelled", "delete"),
    }
    assert set(ORDER_STATUSES) == {"opened", "placed", "finished", "canceled", "cancelled"}
    assert set(FULFILLMENT_STATUSES) == {
        *("initialled", "waiting", "partially_shipped", "shipped", "partially_finished", "finished", "cancelled"),
        *("returning", "partially_returned", "returned"),
    }
    assert len(FINANCIAL_STATUSES) == 11
    # A called-off shipment is no canceled order: where a word is of both, the order's kind counts.
    assert (WORDS["cancelled"], WORDS["finished"]) == (Phase.CANCELED, Phase.COMPLETED)
    assert FULFILLMENT_STATUSES["cancelled"] is Phase.OPEN
    assert all(WORDS[each] is TOPICS[each].phase for each in TOPICS if TOPICS[each].phase)


@pytest.mark.parametrize(("topic", "type"), [(name, each.type) for name, each in TOPICS.items()])
def test_a_topic_is_an_event_in_our_vocabulary(topic: str, type: str) -> None:
    assert observe({"order": order()}, topic).type == type
    assert observe({"order": order()}, f" {topic.upper()} ").type == type


def test_no_two_topics_are_one_event() -> None:
    assert len({each.type for each in TOPICS.values()}) == len(TOPICS)


def test_another_shop_s_order_is_never_taken_for_ours() -> None:
    other = {"X_Shoplazza_Shop_Domain": "other.myshoplaza.com"}
    for topic in (*TOPICS, "app/uninstalled", "orders/teleported", None):
        found = receive({"order": order()}, topic, **other)
        assert isinstance(found, Unrecognized)
        assert "other.myshoplaza.com" in found.reason
        assert "other_shop_domains" in found.reason
    assert receive(b"no JSON", "orders/update", **other)  # not even read
    ours = make(other_shop_domains=["other.myshoplaza.com"])
    assert observe({"order": order()}, config=ours, **other).order == ID


@pytest.mark.parametrize("shop", ["acme.myshoplaza.com", "acme.myshoplazza.com", "ACME.shoplazza.com", ""])
def test_our_shop_is_known_under_each_of_its_domains(shop: str) -> None:
    assert observe({"order": order()}, X_Shoplazza_Shop_Domain=shop).order == ID


def test_an_uninstalled_app_is_told_of() -> None:
    found = receive({"domain": "acme"}, "app/uninstalled")
    assert isinstance(found, Ignored)
    assert "access_token is void" in found.reason


@pytest.mark.parametrize("resource", sorted(OTHER_RESOURCES))
def test_other_resources_are_ignored(resource: str) -> None:
    found = receive(b"whatever", f"{resource}/update")
    assert isinstance(found, Ignored)
    assert f"{resource}/update" in found.reason


@pytest.mark.parametrize(
    "topic", [None, "", "orders", "orders/", "order/create", "orders/canceled", "x" * 5000, "\udcff"]
)
def test_what_is_not_known_goes_to_quarantine(topic: str | None) -> None:
    found = receive({"order": order()}, topic)
    assert isinstance(found, Unrecognized)
    assert len(found.reason) < 200


# -- What is a duplicate ---------------------------------------------------------------------

DEDUPLICATION = "X_Shoplazza_Deduplication_ID"


def key(topic: str = "orders/update", tags: str = "", **headers: str) -> bytes:
    return observe({"order": order(tags=tags)}, topic, **headers).key


def test_the_deduplication_id_tells_duplicates() -> None:
    one = {DEDUPLICATION: "one"}
    assert key(**one) == key(**one, X_Shoplazza_Api_Version="2022-01") == key(tags="rendered again", **one)
    assert key(**one) != key(**{DEDUPLICATION: "two"})


def test_without_one_topic_and_body_tell_duplicates() -> None:
    assert key() == key() == key(**{DEDUPLICATION: ""})
    assert len({key(), key(tags="x"), key("orders/paid"), key(**{DEDUPLICATION: "one"})}) == 4


def test_the_id_of_an_order_without_a_time_tells_nothing_as_nothing_proves_it() -> None:
    def key_of(id: str, proven: frozenset[str] | None, updated_at: str | None) -> bytes:
        headers = CIMultiDict({"X-Shoplazza-Topic": "orders/update", "X-Shoplazza-Deduplication-ID": id})
        body = json.dumps({"order": order(updated_at=updated_at)}).encode()
        parsed = HANDLER.parse(InboundRequest(headers, {}, body, proven_headers=proven), make())
        assert not isinstance(parsed, (Ignored, Unrecognized))
        return parsed[0].key

    for updated_at in (None, "2026-03-02T16:00:00"):
        assert key_of("1", HANDLER.signed_headers, updated_at) == key_of("2", HANDLER.signed_headers, updated_at)
        assert key_of("1", None, updated_at) != key_of("2", None, updated_at)
    timed = "2026-03-02T16:00:00Z"
    assert key_of("1", HANDLER.signed_headers, timed) != key_of("2", HANDLER.signed_headers, timed)


def test_a_replay_under_another_id_changes_nothing() -> None:
    """The header is not signed: whoever replays an old body may call it new."""
    old = observe({"order": order(updated_at="2026-03-02T16:00:00Z")}, **{DEDUPLICATION: "1"})
    shipped = order(fulfillment_status="shipped", updated_at="2026-03-02T16:30:00Z")
    new = observe({"order": shipped}, **{DEDUPLICATION: "2"})
    replayed = observe({"order": order(updated_at="2026-03-02T16:00:00Z")}, "orders/cancelled", **{DEDUPLICATION: "3"})
    events = [to_event(each, "a", NOW, Source.WEBHOOK, None) for each in (old, new, replayed)]
    state, _ = fold("a", ID, events)
    assert (state.phase, state.attributes["fulfillment_status"]) == (Phase.IN_PROGRESS, "shipped")


def test_a_paid_order_that_was_canceled_stays_so_when_it_finishes() -> None:
    told = [
        ("orders/paid", order()),
        ("orders/finished", order(status="finished", updated_at="2026-03-02T16:03:42Z")),
        (
            "orders/cancelled",
            order(status="finished", canceled_at="2026-03-02T16:03:41Z", updated_at="2026-03-02T16:03:41Z"),
        ),
    ]
    events = [to_event(observe({"order": body}, topic), "a", NOW, Source.WEBHOOK, None) for topic, body in told]
    state, _ = fold("a", ID, events)
    assert (state.phase, state.provider_status) == (Phase.CANCELED, "finished")
