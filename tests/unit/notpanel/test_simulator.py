from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from unit.notpanel.support import AT, FORM, KEY, ORDERED, call, provider, raw, summary

from app.contract import HttpRequest
from handlers.notpanel.simulator import NOT_FOUND, NOT_SUPPORTED, STEPS, NotPanel


def cancel(made: NotPanel, **fields: Any) -> tuple[int, Any]:
    return call(made, action="cancel", **fields)


def wrong(text: str, status: int = 400) -> tuple[int, Any]:
    return status, {"error": text}


# -- Cancel ----------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["1", "2"])
def test_a_pending_order_is_refunded_at_once_whatever_its_service(service: str) -> None:
    made = NotPanel()
    made.act({"do": "create_order", "order_id": 1, "service": service, "quantity": 2000}, AT)
    assert cancel(made, order=1) == (200, {"cancel": "1"})
    shown = summary(made)
    assert (shown["status"], shown["charge"], shown["refunded"]) == ("cancelled", "1.00", "1.00")
    assert (shown["cancel_calls"], shown["cancel_effects"], shown["cancel_queued"]) == (1, 1, False)
    assert call(made, action="balance")[1] == {"balance": "101.00", "currency": "USD"}


@pytest.mark.parametrize("status", ["in_progress", "processing"])
def test_of_an_order_in_flight_the_request_is_queued_if_its_service_allows(status: str) -> None:
    made = provider(status)
    assert cancel(made, order=1) == (200, {"cancel": "1"})
    shown = summary(made)
    assert (shown["status"], shown["cancel_queued"], shown["refunded"]) == (status, True, "0")
    made.act({"do": "create_order", "order_id": 2, "service": 2, "status": status}, AT)
    assert cancel(made, order=2) == wrong("Service does not support cancellation")
    made.act({"do": "set_service", "service": 2, "cancel": True}, AT)
    assert cancel(made, order=2)[0] == 200
    made.act({"do": "remove_service", "service": 2}, AT)
    assert cancel(made, order=2) == wrong(NOT_SUPPORTED)


@pytest.mark.parametrize("status", ["completed", "cancelled", "refunded", "partial", "failed"])
def test_a_terminal_order_is_not_canceled(status: str) -> None:
    made = provider(status)
    assert cancel(made, order=1) == wrong(f"Order cannot be cancelled (already {status})")
    assert (summary(made)["cancel_calls"], summary(made)["cancel_effects"]) == (1, 0)


def test_nobody_elses_order_is_known() -> None:
    made = provider("pending", keys=(KEY, "another"))
    assert cancel(made, key="another", order=1) == wrong("Order not found")
    assert cancel(made, order=2) == wrong(NOT_FOUND)
    assert summary(made)["status"] == "pending"


def test_several_have_a_row_each() -> None:
    made = provider("pending", "completed", "in_progress")
    assert cancel(made, orders="3,1,x, 2") == (
        200,
        [
            {"order": "3", "cancel": "3"},
            {"order": "1", "cancel": "1"},
            {"order": "x", "error": "Order not found"},
            {"order": "2", "error": "Order cannot be cancelled (already completed)"},
        ],
    )


@pytest.mark.parametrize("action", ["cancel", "status"])
def test_orders_are_named_in_one_of_two_ways_and_are_a_hundred_at_most(action: str) -> None:
    made = provider("pending")
    assert call(made, action=action) == wrong("Missing required parameter: order")
    assert call(made, action=action, order="") == wrong("Missing required parameter: order")
    assert call(made, action=action, order=1, orders="1") == wrong("Give order or orders, and only one of them")
    assert call(made, action=action, orders=",".join(map(str, range(101))))[0] == 400
    assert summary(made)["status"] == "pending"
    code, body = call(made, action=action, orders=",".join(map(str, range(100))))
    assert (code, len(body)) == (200, 100)


def test_canceling_twice_shows() -> None:
    made = provider("pending", "in_progress")
    for _ in range(2):
        cancel(made, orders="1,2")
    assert [(each["cancel_calls"], each["cancel_effects"]) for each in made.act({"do": "list"}, AT)["orders"]] == [
        (2, 1),
        (2, 2),
    ]


@pytest.mark.parametrize(
    ("answer", "status", "refunded"),
    [
        ({}, "cancelled", "0.50"),
        ({"granted": True, "status": "partial", "remains": 250}, "partial", "0.12"),
        ({"status": "refunded"}, "refunded", "0.50"),
        ({"granted": False}, "in_progress", "0"),
    ],
)
def test_upstream_grants_or_denies_what_is_queued(answer: dict[str, Any], status: str, refunded: str) -> None:
    made = provider("in_progress")
    cancel(made, order=1)
    shown = made.act({"do": "settle", "order_id": 1, **answer}, AT)
    assert (shown["status"], shown["refunded"], shown["cancel_queued"]) == (status, refunded, False)
    with pytest.raises(ValueError, match="queued"):
        made.act({"do": "settle", "order_id": 1}, AT)


# -- The other calls -------------------------------------------------------------------------


def test_the_status_is_the_documented_one() -> None:
    made = provider("in_progress")
    shown = {"status": "in_progress", "charge": "0.50", "start_count": "0", "remains": "1000", "currency": "USD"}
    assert call(made, action="status", order=1) == (200, shown)
    assert call(made, action="status", orders="1,x") == (200, {"1": shown, "x": {"error": "Incorrect order ID"}})
    assert call(made, action="status", order="x") == wrong("Order not found")
    assert call(provider("pending", show_service=True), action="status", order=1)[1]["service"] == "1"


def test_the_catalog_has_the_flags() -> None:
    code, rows = call(NotPanel(), action="services")
    assert code == 200
    assert {each["service"]: each["cancel"] for each in rows} == {1: True, 2: False}


def test_an_order_is_placed_once_per_request_id() -> None:
    made = NotPanel()
    code, placed = call(made, **ORDERED)
    assert (code, call(made, **ORDERED)) == (200, (200, placed))
    assert len(made.act({"do": "list"}, AT)["orders"]) == 1
    assert call(made, action="balance")[1]["balance"] == "99.50"
    assert cancel(made, **placed) == (200, {"cancel": placed["order"]})


@pytest.mark.parametrize("name", ["service", "request_id", "link", "quantity"])
def test_what_an_order_needs(name: str) -> None:
    assert call(NotPanel(), **{**ORDERED, name: ""}) == wrong(f"Missing required parameter: {name}")


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"service": 3}, "Invalid service ID"),
        ({"quantity": "many"}, "Invalid quantity"),
        ({"quantity": "9" * 5000}, "Invalid quantity"),
        ({"quantity": 999_999_999}, "Insufficient balance"),
    ],
)
def test_what_cannot_be_ordered(bad: dict[str, Any], says: str) -> None:
    made = NotPanel()
    assert call(made, **{**ORDERED, **bad}) == wrong(says)
    assert made.act({"do": "list"}, AT) == {"orders": []}


# -- Who calls, and how often ----------------------------------------------------------------


def test_a_call_is_a_form_with_a_key_and_an_action() -> None:
    made = NotPanel()
    good = urlencode({"key": KEY, "action": "balance"}).encode()

    def ask(**changes: Any) -> tuple[int, str]:
        given = {"method": "POST", "url": "/api/v2", "headers": FORM, "body": good, **changes}
        answer = made.handle(HttpRequest(**given), AT)
        return answer.status, json.loads(answer.body).get("error", "")

    assert ask() == (200, "")
    assert ask(headers={"content-type": "application/x-www-form-urlencoded; charset=utf-8"}) == (200, "")
    as_json = json.dumps({"key": KEY, "action": "balance"}).encode()
    missing = (400, "Missing required parameter: key")
    assert ask(headers={"Content-Type": "application/json"}, body=as_json) == missing
    assert ask(headers={"Content-Type": "application/json"}) == missing
    assert ask(headers={}) == missing
    assert ask(headers={**FORM, "Authorization": f"Bearer {KEY}"}, body=b"action=balance") == missing
    assert ask(body=f"key={KEY}".encode()) == (400, "Missing required parameter: action")
    assert ask(body=f"key={KEY}&action=fly".encode()) == (400, "Invalid action")
    assert ask(body=b"key=wrong&action=balance") == (400, "Invalid API key")
    assert ask(method="GET")[0] == 405
    assert ask(url="/api/v1")[0] == 404
    assert ask(url="/")[0] == 404


def test_a_suspended_account_is_not_served() -> None:
    made = provider("pending")
    made.act({"do": "suspend"}, AT)
    assert cancel(made, order=1) == wrong("Account suspended", 403)
    assert summary(made)["status"] == "pending"
    made.act({"do": "suspend", "suspended": False}, AT)
    assert cancel(made, order=1)[0] == 200


def test_the_limit_is_100_calls_in_any_60_seconds_and_its_headers_count_down() -> None:
    made = NotPanel()
    answers = [raw(made, AT + number * 0.5, action="balance") for number in range(101)]
    assert [each.status for each in answers] == [200] * 100 + [429]
    first, last, denied = answers[0].headers, answers[99].headers, answers[100].headers
    assert (first["x-ratelimit-limit"], first["x-ratelimit-remaining"]) == ("100", "99")
    assert first["x-ratelimit-tier-remaining"] == "999"
    assert last["x-ratelimit-remaining"] == "0"
    assert (denied["x-ratelimit-deniedby"], denied["x-ratelimit-remaining"]) == ("key", "0")
    assert "x-ratelimit-deniedby" not in last
    assert float(denied["x-ratelimit-reset"]) == AT + 60
    assert raw(made, AT + 59.9, action="balance").status == 429
    assert raw(made, AT + 60, action="balance").status == 200


@pytest.mark.parametrize(
    ("limits", "layer", "left"),
    [
        ({"ip_requests": 2}, "ip", 0),
        ({"requests": 2}, "key", 2),
        ({"tier_requests": 2}, "tier", 0),
    ],
)
def test_each_layer_denies_under_its_own_name(limits: dict[str, int], layer: str, left: int) -> None:
    made = provider("pending", "pending", keys=(KEY, "another"), **limits)
    assert [raw(made, action="balance").status for _ in range(3)] == [200, 200, 429]
    denied = raw(made, action="cancel", order=1)
    assert denied.headers["x-ratelimit-deniedby"] == layer
    assert json.loads(denied.body) == {"error": "Rate limit exceeded"}
    assert summary(made)["status"] == "pending"
    # Only the key's own layer leaves another key's calls alone.
    assert sum(raw(made, key="another", action="balance").status == 200 for _ in range(3)) == left


def test_a_wrong_key_uses_up_the_ip_address_only() -> None:
    made = NotPanel(requests=2, ip_requests=5)
    assert [raw(made, key="wrong", action="balance").status for _ in range(3)] == [400] * 3
    assert [raw(made, action="balance").status for _ in range(3)] == [200, 200, 429]


def test_the_limits_are_admin_managed() -> None:
    made = NotPanel(requests=1)
    shown = made.act({"do": "set_limits", "requests": 3, "per_s": 1, "ip_requests": 9}, AT)
    assert shown == {"requests": 3, "ip_requests": 9, "tier_requests": 1000, "per_s": 1.0}
    assert [raw(made, action="balance").status for _ in range(4)] == [200, 200, 200, 429]
    assert raw(made, AT + 1, action="balance").status == 200


@pytest.mark.parametrize("takes_effect", [True, False])
def test_a_crash_may_come_after_the_effect(takes_effect: bool) -> None:
    made = provider("pending")
    made.act({"do": "crash", "times": 1, "takes_effect": takes_effect}, AT)
    assert cancel(made, order=1) == wrong("Internal server error", 500)
    assert summary(made)["cancel_effects"] == int(takes_effect)
    assert cancel(made, order=1)[0] == (400 if takes_effect else 200)


# -- The provider's side ---------------------------------------------------------------------


@pytest.mark.parametrize("status", ["completed", "cancelled", "refunded"])
def test_nothing_becomes_of_a_terminal_order_but_a_refund_of_a_completed_one(status: str) -> None:
    for action in STEPS:
        made = provider(status)
        if (action, status) == ("refund", "completed"):
            assert made.act({"do": action, "order_id": 1}, AT)["status"] == "refunded"
            continue
        with pytest.raises(ValueError, match="nothing more"):
            made.act({"do": action, "order_id": 1}, AT)


def test_a_refund_is_of_what_was_not_refunded_yet() -> None:
    made = provider("in_progress")
    made.act({"do": "partial", "order_id": 1, "remains": 500}, AT)
    assert summary(made)["refunded"] == "0.25"
    made.act({"do": "refund", "order_id": 1}, AT)
    assert summary(made)["refunded"] == "0.50"
    assert call(made, action="balance")[1]["balance"] == "100.50"


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ({}, "cannot do ''"),
        ({"do": "fly"}, "create_order"),
        ({"do": "create_order", "order_id": 1}, "there already"),
        ({"do": "create_order", "service": 9}, "no service '9'"),
        ({"do": "create_order", "quantity": "x"}, "invalid literal"),
        ({"do": "create_order", "colour": 1}, "takes no colour"),
        ({"do": "complete"}, "no order"),
        ({"do": "complete", "order_id": 9}, "no order"),
        ({"do": "settle", "order_id": 1}, "queued"),
        ({"do": "list", "order_id": 9}, "no order"),
        ({"do": "set_service"}, "cannot read"),
        ({"do": "remove_service", "service": 9}, "no service"),
        ({"do": "set_balance", "balance": "much"}, "4.99"),
        ({"do": "set_limits", "requests": 0}, "1 or more"),
        ({"do": "set_limits", "tier_requests": 0}, "1 or more"),
        ({"do": "set_limits", "per_s": 0}, "above 0"),
        ({"do": "set_keys", "keys": []}, "at least one"),
        ({"do": "set_keys", "keys": "x"}, "list of strings"),
        ({"do": "remove_webhook", "webhook": "wh_9"}, "no webhook"),
        ({"do": "crash", "times": "x"}, "invalid literal"),
    ],
)
def test_what_cannot_be_done_is_explained_and_changes_nothing(action: dict[str, Any], says: str) -> None:
    made = provider("in_progress")
    before = made.act({"do": "list"}, AT)
    with pytest.raises(ValueError, match=says):
        made.act(action, AT)
    assert made.act({"do": "list"}, AT) == before
    assert made.emitted() == []


def test_the_keys_are_admin_managed() -> None:
    made = provider("pending")
    made.act({"do": "set_keys", "keys": ["new"]}, AT)
    assert cancel(made, order=1) == wrong("Invalid API key")
