from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.shoplazza.support import ID, make, observe, order

from app.contract import MalformedPayload, Phase
from handlers.shoplazza.payload import ATTRIBUTES, stated_phase
from handlers.shoplazza.words import FULFILLMENT_STATUSES, ORDER_STATUSES, TOPICS, advance

AT = "2026-03-02T16:00:00Z"
FAR = [Phase.OPEN, Phase.UNKNOWN, Phase.IN_PROGRESS, Phase.COMPLETED, Phase.CANCELED]


def phase(topic: str = "orders/update", **more: Any) -> Phase | None:
    return observe({"order": order(**more)}, topic).facts.phase


# -- What the order's own fields say ---------------------------------------------------------


@pytest.mark.parametrize(("status", "fulfillment"), list(itertools.product(ORDER_STATUSES, FULFILLMENT_STATUSES)))
def test_status_and_fulfillment_together_give_the_phase(status: str, fulfillment: str) -> None:
    by_status = ORDER_STATUSES[status]
    wanted = FULFILLMENT_STATUSES[fulfillment] if by_status is Phase.OPEN else by_status
    assert phase(status=status, fulfillment_status=fulfillment) is wanted


@pytest.mark.parametrize("key", ["canceled_at", "cancelled_at"])
@pytest.mark.parametrize("status", [*ORDER_STATUSES, "never heard of", None])
def test_a_time_of_cancellation_says_canceled_whatever_the_status(key: str, status: str | None) -> None:
    assert phase(status=status, **{key: AT}) is Phase.CANCELED


@pytest.mark.parametrize("none", [None, "", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", 0, "0"])
@pytest.mark.parametrize("key", ["canceled_at", "cancelled_at", "deleted_at"])
def test_no_time_is_written_in_many_ways(key: str, none: object) -> None:
    seen = observe({"order": order(**{key: none})})
    assert seen.facts.phase is Phase.OPEN
    assert key not in seen.facts.attributes
    assert seen.occurred_at is not None
    assert seen.occurred_at.year == 2026


@pytest.mark.parametrize("key", ["updated_at", "canceled_at", "cancelled_at", "deleted_at"])
@pytest.mark.parametrize("bad", ["yesterday", "2019-10-01 10:00:00 xxxx", True, [], {}, "-"])
def test_a_time_that_is_none_is_not_guessed_at(key: str, bad: object) -> None:
    with pytest.raises(MalformedPayload, match=key):
        observe({"order": order(**{key: bad})})


@pytest.mark.parametrize(
    ("status", "reason", "wanted"),
    [
        ("finished", "Out of stock", Phase.CANCELED),
        ("finished", "", Phase.COMPLETED),
        ("finished", "  ", Phase.COMPLETED),
        ("finished", None, Phase.COMPLETED),
        ("placed", "Out of stock", Phase.UNKNOWN),
        ("opened", "Out of stock", Phase.UNKNOWN),
        ("placed", "", Phase.OPEN),
        ("cancelled", "", Phase.CANCELED),
    ],
)
def test_a_reason_tells_a_canceled_order_from_a_finished_one(status: str, reason: str | None, wanted: Phase) -> None:
    assert phase(status=status, cancel_reason=reason) is wanted


def test_a_deleted_order_is_over_but_not_canceled() -> None:
    assert phase(deleted_at=AT) is Phase.COMPLETED
    assert phase(deleted_at=AT, canceled_at=AT) is Phase.CANCELED
    assert phase(deleted_at=AT, status="finished") is Phase.COMPLETED


@pytest.mark.parametrize("key", ["status", "fulfillment_status"])
@pytest.mark.parametrize("word", ["never heard of", "Placed", "fulfilled", "unfulfilled"])
def test_a_word_that_no_document_names_makes_it_unknown(key: str, word: str) -> None:
    assert phase(**{key: word}) is Phase.UNKNOWN


def test_one_of_the_two_statuses_is_enough() -> None:
    assert stated_phase({"status": "placed"}) is Phase.OPEN
    assert stated_phase({"fulfillment_status": "shipped"}) is Phase.IN_PROGRESS
    assert stated_phase({"financial_status": "paid"}) is None


# -- What the topic says besides -------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "more", "wanted"),
    [
        ("orders/create", {"status": None, "fulfillment_status": None}, Phase.OPEN),
        ("orders/update", {"status": None, "fulfillment_status": None}, Phase.UNKNOWN),
        ("orders/paid", {"status": None, "fulfillment_status": None}, Phase.UNKNOWN),
        ("orders/create", {"fulfillment_status": "shipped"}, Phase.IN_PROGRESS),
        ("orders/paid", {"fulfillment_status": "shipped"}, Phase.IN_PROGRESS),
        ("orders/fulfilled", {}, Phase.UNKNOWN),
        ("orders/fulfilled", {"status": None, "fulfillment_status": None}, Phase.UNKNOWN),
        ("orders/partially_fulfilled", {"fulfillment_status": "partially_shipped"}, Phase.IN_PROGRESS),
        ("orders/fulfilled", {"status": "finished"}, Phase.COMPLETED),
        ("orders/fulfilled", {"canceled_at": AT}, Phase.CANCELED),
        ("orders/finished", {}, Phase.UNKNOWN),
        ("orders/finished", {"fulfillment_status": "shipped"}, Phase.UNKNOWN),
        ("orders/finished", {"status": "finished"}, Phase.COMPLETED),
        ("orders/finished", {"status": "finished", "canceled_at": AT}, Phase.CANCELED),
        ("orders/cancelled", {"status": "finished"}, Phase.CANCELED),
        ("orders/cancelled", {"status": None, "fulfillment_status": None}, Phase.CANCELED),
        ("orders/cancelled", {"status": "never heard of"}, Phase.CANCELED),
        ("orders/cancelled", {"cancel_reason": "Out of stock"}, Phase.CANCELED),
        # The topic is not signed, the order is: nobody shall make a cancellation out of an old order.
        ("orders/cancelled", {}, Phase.UNKNOWN),
        ("orders/cancelled", {"fulfillment_status": "shipped"}, Phase.UNKNOWN),
        ("orders/delete", {}, Phase.COMPLETED),
        ("orders/delete", {"canceled_at": AT}, Phase.CANCELED),
    ],
)
def test_topic_and_order_together(topic: str, more: dict[str, Any], wanted: Phase) -> None:
    assert phase(topic, **more) is wanted


@pytest.mark.parametrize("topic", TOPICS)
def test_every_webhook_says_something_of_the_phase(topic: str) -> None:
    for status, fulfillment in itertools.product([None, *ORDER_STATUSES, "x"], [None, *FULFILLMENT_STATUSES, "x"]):
        assert phase(topic, status=status, fulfillment_status=fulfillment) is not None


# -- When it happened ------------------------------------------------------------------------


def test_the_order_s_last_change_is_the_event_s_time() -> None:
    seen = observe({"order": order(updated_at="2026-03-02T17:03:40.25+01:00")})
    assert seen.occurred_at == datetime(2026, 3, 2, 16, 3, 40, 250000, UTC)


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"updated_at": None, "canceled_at": "2026-03-02T16:00:01.5Z"}, datetime(2026, 3, 2, 16, 0, 1, 500000, UTC)),
        ({"canceled_at": "2026-03-02T16:09:01.5Z"}, datetime(2026, 3, 2, 16, 9, 1, 500000, UTC)),
        ({"deleted_at": "2026-03-02T16:09:01.5Z"}, datetime(2026, 3, 2, 16, 9, 1, 500000, UTC)),
        ({"updated_at": None, "created_at": "2026-03-02T15:00:01.5Z"}, datetime(2026, 3, 2, 15, 0, 1, 500000, UTC)),
        ({"updated_at": None}, None),
        ({"updated_at": 1772467445.5}, datetime(2026, 3, 2, 16, 4, 5, 500000, UTC)),
    ],
)
def test_it_happened_no_sooner_than_what_it_tells_of(more: dict[str, Any], wanted: datetime | None) -> None:
    assert observe({"order": order(**more)}).occurred_at == wanted


def moment(**more: Any) -> datetime:
    found = observe({"order": order(updated_at=AT, **more)}).occurred_at
    assert found is not None
    return found


def test_within_one_second_the_further_along_comes_later() -> None:
    steps: list[dict[str, Any]] = [
        {"status": "opened", "fulfillment_status": "initialled"},
        {"status": "placed", "fulfillment_status": "initialled"},
        {"status": "placed", "fulfillment_status": "waiting"},
        {"status": "placed", "fulfillment_status": "never heard of"},
        {"status": "placed", "fulfillment_status": "partially_shipped"},
        {"status": "placed", "fulfillment_status": "shipped"},
        {"status": "placed", "fulfillment_status": "returned"},
        {"status": "finished", "fulfillment_status": "finished"},
        {"status": "cancelled", "fulfillment_status": "initialled"},
    ]
    moments = [moment(**each) for each in steps]
    assert moments == sorted(set(moments))
    assert moments[-1] - moments[0] < timedelta(milliseconds=1)


def test_advance_follows_the_phase_first_and_stays_within_a_millisecond() -> None:
    words = list(itertools.product([None, *ORDER_STATUSES], [None, *FULFILLMENT_STATUSES]))
    ranks = [[advance(each, *pair) for pair in words] for each in FAR]
    for lower, higher in itertools.pairwise(ranks):
        assert max(lower) < min(higher)
    assert min(ranks[0]) >= 0
    assert max(ranks[-1]) < 1000


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(9000, 1, 1)), st.booleans())  # noqa: DTZ001
def test_every_second_keeps_its_place(at: datetime, next_is_open: bool) -> None:
    at = at.replace(microsecond=0, tzinfo=UTC)
    later = at + timedelta(seconds=1)
    first = observe({"order": order(updated_at=at.isoformat(), status="cancelled")}).occurred_at
    second = observe({"order": order(updated_at=later.isoformat(), status="opened" if next_is_open else "placed")})
    assert first is not None
    assert second.occurred_at is not None
    assert at <= first < later <= second.occurred_at


# -- What is kept ----------------------------------------------------------------------------


def test_no_person_is_kept() -> None:
    people = {
        "customer": {"first_name": "Robin", "email": "robin@example.com"},
        "shipping_address": {"phone": "555-0100"},
        "billing_address": {"address": "123 Fake St"},
        "payment_line": {"transaction_no": "0000"},
        "note": "Call Robin",
        "customer_note": "Please ring twice",
        "browser_ip": "192.0.2.1",
        "line_items": [{"product_title": "A lamp"}],
        "checkout_url": "https://acme.example/checkout/1",
    }
    seen = observe({"order": order(tags="vip", total_price="9.99", currency="USD", placed_at=AT, **people)})
    assert seen.facts.attributes == {
        "id": ID,
        "number": "EX1001",
        "financial_status": "paid",
        "fulfillment_status": "waiting",
        "tags": "vip",
        "total_price": "9.99",
        "currency": "USD",
        "placed_at": AT,
    }
    assert not set(people) & set(ATTRIBUTES)


def test_money_is_kept_as_spelled() -> None:
    raw = json.dumps({"order": order()}).replace(
        '"waiting"', '"waiting","total_price":113.660,"total_tax":1e-2,"sub_total":7'
    )
    attributes = observe(raw.encode()).facts.attributes
    assert (attributes["total_price"], attributes["total_tax"], attributes["sub_total"]) == ("113.660", "1e-2", "7")


def test_it_is_open_since_it_was_created() -> None:
    assert observe({"order": order(created_at=AT)}).facts.opened_at == datetime(2026, 3, 2, 16, tzinfo=UTC)
    assert observe({"order": order(created_at="xxxx")}).facts.opened_at is None
    assert observe({"order": order(created_at="0001-01-01T00:00:00Z")}).facts.opened_at is None


@pytest.mark.parametrize(
    ("number", "aliases"),
    [("EX1001", ("EX1001",)), (1001, ("1001",)), ("", ()), (" ", ()), (None, ()), ([], ()), (ID, ()), ("x" * 201, ())],
)
def test_a_number_is_an_alias_only_if_wanted(number: object, aliases: tuple[str, ...]) -> None:
    body = {"order": order(number=number)}
    assert observe(body).facts.shared_aliases == ()
    facts = observe(body, config=make(number_is_alias=True)).facts
    assert (facts.aliases, facts.shared_aliases) == ((), aliases)


@pytest.mark.parametrize(
    "body",
    [
        {"order": order()},
        order(),
        {"data": {"order": order()}},
        {"data": order()},
        {"order": order(), "id": "of the envelope"},
        {**order(), "order": None, "data": "x"},
    ],
)
def test_wrapped_or_not_it_is_the_same_order(body: dict[str, Any]) -> None:
    seen = observe(body)
    assert (seen.order, seen.facts.phase) == (ID, Phase.OPEN)


@pytest.mark.parametrize("id", [None, "", " ", 1.5, True, [], {}, "a\nb", "x" * 201])
def test_what_can_be_no_id_is_said(id: object) -> None:
    with pytest.raises(MalformedPayload, match="id"):
        observe({"order": order(id=id)})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
        max_leaves=5,
    )
)
def test_any_value_anywhere_is_read_or_said_to_be_malformed(value: object) -> None:
    for key in (
        "id",
        "status",
        "fulfillment_status",
        "canceled_at",
        "updated_at",
        "cancel_reason",
        "created_at",
        "tags",
    ):
        raw = json.dumps({"order": order(**{key: value})}, ensure_ascii=True).encode()
        try:
            seen = observe(raw)
        except MalformedPayload:
            continue
        assert seen.facts.phase is not None
