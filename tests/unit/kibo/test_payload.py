from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.kibo.support import CONFIG, ENTITY

from app.contract import Order, Phase
from app.kit.payload import decode
from handlers.kibo.config import Config
from handlers.kibo.payload import OrderResource, entity_id_of, is_about, names_of, order_id_of, read_order, whole_id
from handlers.kibo.words import ORDER_STATUSES, fulfillment_phase, plain, status_phase


def see(body: dict[str, Any], config: Config = CONFIG) -> OrderResource:
    raw = json.dumps(body).encode()
    seen = read_order(decode(raw, "Kibo"), raw, config)
    assert seen is not None
    return seen


def phase(**body: Any) -> Phase | None:
    return see({"orderID": 1, **body}).facts.phase


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1),
        (1010101, 1010101),
        ("1010101", 1010101),
        (10**18 - 1, 10**18 - 1),
        (0, None),
        (-1, None),
        (10**18, None),
        (True, None),
        (1.0, None),
        (None, None),
        ("", None),
        ("0", None),
        ("007", None),
        ("-1", None),
        ("1.0", None),
        (" 1", None),
        ("٣", None),
        ("9" * 5000, None),
        (ENTITY, None),
    ],
)
def test_an_order_id_is_a_whole_number_from_1_on(value: Any, number: int | None) -> None:
    assert whole_id(value) == number


@pytest.mark.parametrize(
    ("order", "number", "entity"),
    [
        (Order("a", "1010101"), 1010101, None),
        (Order("a", ENTITY), None, ENTITY),
        (Order("a", ENTITY, aliases=("1010101",)), 1010101, ENTITY),
        (Order("a", "1010101", aliases=(ENTITY,)), 1010101, ENTITY),
        (Order("a", ENTITY, attributes={"orderID": 7}), 7, ENTITY),
        # What Kibo stated outranks a name; of two numbers none is known to be it.
        (Order("a", "5", aliases=(ENTITY,), attributes={"orderID": 7}), 7, ENTITY),
        (Order("a", "5", aliases=("6", ENTITY)), None, ENTITY),
        (Order("a", "5", attributes={"orderID": "x"}), 5, None),
        (Order("a", "007"), None, "007"),
        (Order("a", "entity:42"), None, "42"),
        (Order("a", "entity:42", aliases=("7",)), 7, "42"),
        (Order("a", "entity:42", attributes={"orderID": 42}), 42, "42"),
    ],
)
def test_which_name_is_which(order: Order, number: int | None, entity: str | None) -> None:
    assert (order_id_of(order), entity_id_of(order)) == (number, entity)


# -- The order's names in an answer ----------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "number", "entity"),
    [
        ({"orderID": 7}, 7, None),
        ({"orderId": 7}, 7, None),
        ({"orderID": "7", "orderId": 8}, 7, None),
        ({"orderID": None, "orderId": 8}, 8, None),
        ({"orderID": 7, "entityId": ENTITY}, 7, ENTITY),
        ({"orderID": 7, "id": ENTITY}, 7, ENTITY),
        ({"orderID": 7, "entityId": ENTITY, "id": "other"}, 7, ENTITY),
        # A number is no entity: another order's orderID may be the same.
        ({"orderID": 7, "id": 5}, 7, None),
        ({"orderID": 7, "entityId": "5", "id": ENTITY}, 7, ENTITY),
        ({"orderID": 7, "id": "x" * 201}, 7, None),
        ({"orderID": 0, "id": ENTITY}, None, ENTITY),
        ({"order": {"orderID": 7}}, 7, None),
        ({"orderID": 7, "order": {"orderID": 8}}, 7, None),
    ],
)
def test_an_answer_names_its_order(body: dict[str, Any], number: int | None, entity: str | None) -> None:
    seen = see(body)
    assert (seen.order_id, seen.entity_id) == (number, entity)
    assert seen.facts.attributes.get("orderID") == number


@pytest.mark.parametrize("body", [{}, {"orderID": 0}, {"orderID": "x"}, {"order": []}, {"id": 5}, {"orderID": {}}])
def test_an_answer_may_name_none(body: dict[str, Any]) -> None:
    assert read_order(body, b"", CONFIG) is None


def test_the_account_says_where_the_entity_stands() -> None:
    config = Config.model_validate({"tenant": "1", "entity_id_keys": ["kibo.orderId"]})
    assert see({"orderID": 7, "id": "other", "kibo": {"orderId": ENTITY}}, config).entity_id == ENTITY


@pytest.mark.parametrize(
    ("order", "body", "ours"),
    [
        (Order("a", "7"), {"orderID": 7}, True),
        (Order("a", "7"), {"orderID": 7, "entityId": ENTITY}, True),
        (Order("a", "7"), {"orderID": 8}, False),
        (Order("a", "7"), {"entityId": ENTITY}, False),
        (Order("a", ENTITY), {"orderID": 8}, True),
        (Order("a", ENTITY), {"orderID": 8, "entityId": ENTITY}, True),
        (Order("a", ENTITY), {"orderID": 8, "entityId": "another"}, False),
        (Order("a", ENTITY), {"entityId": "another"}, False),
        (Order("a", ENTITY, aliases=("7",)), {"orderID": 8, "entityId": ENTITY}, False),
        (Order("a", ENTITY, aliases=("7",)), {"orderID": 7, "entityId": "another"}, True),
        (Order("a", ENTITY, aliases=("7",)), {"entityId": ENTITY}, True),
        (Order("a", "None"), {"entityId": ENTITY}, False),
        # Of two numbers one is the order's: an answer by either will do, by any other it will not.
        (Order("a", "5", aliases=("6",)), {"orderID": 6}, True),
        (Order("a", "5", aliases=("6",)), {"orderID": 7}, False),
        (Order("a", "entity:5"), {"orderID": 7}, True),
        (Order("a", "entity:5"), {"orderID": 7, "entityId": 5}, True),
        (Order("a", "entity:5"), {"orderID": 7, "entityId": "5", "id": "x"}, True),
        (Order("a", "entity:5"), {"entityId": 5}, True),
        (Order("a", "entity:5"), {"orderID": 7, "entityId": 6}, False),
        (Order("a", "entity:5"), {"orderID": 7, "entityId": "x"}, False),
        # The path of orderIDs was asked, and answers with another order.
        (Order("a", "entity:5"), {"orderID": 5}, False),
        (Order("a", "entity:5"), {"orderID": 5, "id": 5}, False),
        (Order("a", "entity:5"), {"orderID": 5, "entityId": "x"}, False),
        (Order("a", "entity:5"), {"orderID": 5, "entityId": 5}, True),
        (Order("a", ENTITY), {"orderID": 7, "entityId": 5}, True),
    ],
)
def test_an_answer_about_another_order_is_told_apart(order: Order, body: dict[str, Any], ours: bool) -> None:
    assert is_about(see(body), order) is ours


def test_an_order_gets_its_other_names() -> None:
    seen = see({"orderID": 7, "entityId": ENTITY})
    assert names_of(seen, Order("a", ENTITY)) == ("7",)
    assert names_of(seen, Order("a", "7")) == (ENTITY,)
    assert names_of(see({"orderID": 7}), Order("a", "7")) == ()


# -- How it stands ---------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "wanted"), list(ORDER_STATUSES.items()))
@pytest.mark.parametrize("key", ["orderStatus", "status", "orderState"])
def test_a_status_stands_in_any_of_the_keys(key: str, status: str, wanted: Phase) -> None:
    seen = see({"orderID": 1, key: status})
    assert (seen.facts.phase, seen.facts.provider_status) == (wanted, status)


@pytest.mark.parametrize("status", ["PENDING_REVIEW", "pendingreview", "Pending-Review", "pending  review"])
def test_the_way_of_writing_does_not_count(status: str) -> None:
    assert plain(status) == plain("Pending Review")
    assert phase(orderStatus=status) is Phase.OPEN


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({}, None),
        ({"fulfillmentStatus": "Fulfilled"}, None),
        ({"orderStatus": ""}, None),
        ({"orderStatus": 5}, None),
        ({"orderStatus": "Accepted", "orderState": "CANCELED"}, Phase.CANCELED),
        ({"orderStatus": "Accepted", "orderState": "IN_LIMBO"}, Phase.UNKNOWN),
        ({"orderStatus": "Processing", "orderState": "IN_LIMBO"}, Phase.IN_PROGRESS),
        ({"orderStatus": "Cancelled", "fulfillmentStatus": "PartiallyFulfilled"}, Phase.CANCELED),
        ({"orderStatus": "Accepted", "fulfillmentStatus": "Partially Fulfilled"}, Phase.IN_PROGRESS),
        ({"orderStatus": "Processing", "fulfillmentStatus": "FULFILLED"}, Phase.COMPLETED),
        ({"orderStatus": "Accepted", "fulfillmentStatus": "NotFulfilled"}, Phase.OPEN),
        ({"orderStatus": "Accepted", "fulfillmentStatus": "Customer Care"}, Phase.UNKNOWN),
    ],
)
def test_of_all_that_is_stated_the_furthest_counts(body: dict[str, Any], wanted: Phase | None) -> None:
    assert phase(**body) is wanted


def test_the_first_status_is_the_one_that_is_shown() -> None:
    assert see({"orderID": 1, "orderState": "READY", "orderStatus": "Accepted"}).facts.provider_status == "Accepted"
    config = Config.model_validate({"tenant": "1", "status_keys": ["workflow.state"]})
    assert see({"orderID": 1, "orderStatus": "x", "workflow": {"state": "READY"}}, config).facts.phase is Phase.OPEN


@given(st.text())
def test_a_word_never_heard_of_is_unknown(word: str) -> None:
    known = {plain(each) for each in (*ORDER_STATUSES, "NotFulfilled", "PartiallyFulfilled", "Fulfilled")}
    if plain(word) not in known:
        assert status_phase(word) is fulfillment_phase(word) is Phase.UNKNOWN


# -- What is kept ----------------------------------------------------------------------------


def test_people_and_payments_are_not_kept() -> None:
    body = {
        "orderID": 1,
        "orderStatus": "Accepted",
        "total": 49.90,
        "externalOrderID": "e-1",
        "isTestOrder": True,
        "customer": {"email": "robin@example.com", "phone": "555-0100"},
        "billingInfo": {"card": "4111"},
        "payments": [{"amount": 1}],
        "shippingAddress": {"city": "Denver"},
        "notes": [{"text": "ring the bell"}],
        "ipAddress": "192.0.2.1",
        "items": [{"name": "Gift"}],
    }
    raw = json.dumps(body).replace("49.9", "49.90").encode()
    seen = read_order(decode(raw, "Kibo"), raw, CONFIG)
    assert seen is not None
    assert set(seen.facts.attributes) == {"orderID", "orderStatus", "total", "externalOrderID", "isTestOrder"}
    assert seen.facts.attributes["total"] == "49.90"


def test_since_when_it_is_open() -> None:
    seen = see({"orderID": 1, "submittedDate": "2026-03-02T16:04:05.2500000Z"})
    assert seen.facts.opened_at is not None
    assert seen.facts.opened_at.isoformat() == "2026-03-02T16:04:05.250000+00:00"
    assert see({"orderID": 1, "submittedDate": "once"}).facts.opened_at is None
