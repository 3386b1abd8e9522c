from __future__ import annotations

import json
from typing import Any

import pytest
from multidict import CIMultiDict
from pydantic import SecretStr

from app.contract import HttpRequest, InboundRequest, VerificationError, VerifyOptions
from app.kit.signing import verify_scheme
from app.kit.simulator import utc_time
from handlers.generic.simulator import DEFAULT_API_KEY, DEFAULT_SIGNING_SECRET, STEPS, ExampleShop

NOW = 1_772_467_446.0
HOUR = 3600.0
GOOD = {"code": "mistake", "comment": "Ordered twice"}


def shop_with_order(**given: Any) -> ExampleShop:
    shop = ExampleShop(**given)
    shop.act({"do": "create_order", "order_id": "o-1"}, NOW)
    return shop


def call(
    shop: ExampleShop,
    method: str = "POST",
    path: str = "/v1/orders/o-1/cancel",
    body: Any = GOOD,
    now: float = NOW,
    key: str | None = DEFAULT_API_KEY,
) -> tuple[int, dict[str, Any]]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    answer = shop.handle(HttpRequest(method, f"http://shop{path}", headers, json.dumps(body).encode()), now)
    return answer.status, json.loads(answer.body)


def code(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


def listed(shop: ExampleShop) -> dict[str, Any]:
    [found] = shop.act({"do": "list", "order_id": "o-1"}, NOW)["orders"]
    return dict(found)


def events(shop: ExampleShop) -> list[dict[str, Any]]:
    return [json.loads(each.body) for each in shop.emitted()]


def test_a_placed_order_is_canceled_once() -> None:
    shop = shop_with_order()
    status, body = call(shop)
    assert (status, body["status"]) == (200, "canceled")
    assert code(call(shop)) == (409, "already_canceled")
    assert (listed(shop)["cancel_calls"], listed(shop)["cancel_effects"]) == (2, 1)
    assert [each["type"] for each in events(shop)] == [
        "com.example.shop.order.placed",
        "com.example.shop.order.canceled",
    ]


@pytest.mark.parametrize("step", ["pack", "ship", "deliver"])
def test_what_is_packed_is_too_late(step: str) -> None:
    shop = shop_with_order()
    shop.act({"do": step, "order_id": "o-1"}, NOW)
    assert code(call(shop)) == (409, "too_late")
    assert (listed(shop)["cancel_calls"], listed(shop)["cancel_effects"]) == (1, 0)


@pytest.mark.parametrize(("before_h", "status"), [(24.01, 200), (24, 409), (1, 409), (-1, 409)])
def test_the_window_closes_a_day_before_a_delivery(before_h: float, status: int) -> None:
    shop = shop_with_order()
    starts_at = utc_time(NOW + 50 * HOUR).isoformat()
    shop.act({"do": "book_delivery", "order_id": "o-1", "starts_at": starts_at}, NOW)
    assert call(shop, now=NOW + (50 - before_h) * HOUR)[0] == status


def test_a_delivery_called_off_closes_nothing() -> None:
    shop = shop_with_order()
    shop.act({"do": "book_delivery", "order_id": "o-1", "starts_at": utc_time(NOW + HOUR).isoformat()}, NOW)
    shop.act({"do": "book_delivery", "order_id": "o-1"}, NOW)
    assert code(call(shop)) == (409, "too_late")
    shop.act({"do": "call_off_delivery", "order_id": "o-1"}, NOW)
    assert call(shop)[0] == 200


@pytest.mark.parametrize(
    "body", [{}, [], {"code": "because"}, {"code": "mistake", "comment": "x" * 201}, {"code": "mistake", "comment": 1}]
)
def test_words_are_checked(body: Any) -> None:
    shop = shop_with_order()
    assert code(call(shop, body=body)) == (422, "invalid")
    assert listed(shop)["status"] == "placed"


@pytest.mark.parametrize("key", [None, "", "wrong"])
def test_a_key_is_needed(key: str | None) -> None:
    assert code(call(shop_with_order(), key=key)) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "/v1/orders/o-2", "no_such_order"),
        ("POST", "/v1/orders/o-2/cancel", "no_such_order"),
        ("DELETE", "/v1/orders/o-1", "no_such_call"),
        ("GET", "/v1/orders/o-1/cancel", "no_such_call"),
        ("GET", "/v2/orders/o-1", "no_such_call"),
        ("POST", "/v1/orders/o-1/cancel/now", "no_such_call"),
    ],
)
def test_nothing_else_is_there(method: str, path: str, error: str) -> None:
    assert code(call(shop_with_order(), method, path)) == (404, error)


def test_an_order_is_shown() -> None:
    shop = ExampleShop()
    shop.act({"do": "create_order", "order_id": "a/b c", "total": "5.00"}, NOW)
    status, body = call(shop, "GET", "/generic/v1/orders/a%2Fb%20c")
    assert (status, body["id"], body["amount"]["total"]) == (200, "a/b c", "5.00")


def test_calls_are_limited() -> None:
    shop = shop_with_order(requests=2, per_s=10.0)
    assert [call(shop, "GET", "/v1/orders/o-1")[0] for _ in range(3)] == [200, 200, 429]
    request = HttpRequest("GET", "http://shop/v1/orders/o-1", {"authorization": f"bearer {DEFAULT_API_KEY}"})
    assert shop.handle(request, NOW + 3).headers["retry-after"] == "8"
    assert call(shop, "GET", "/v1/orders/o-1", now=NOW + 10)[0] == 200
    shop.act({"do": "set_limits", "requests": 1, "per_s": 1}, NOW)
    assert [call(shop, now=NOW + 20)[0] for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(("takes_effect", "status"), [(False, "placed"), (True, "canceled")])
def test_a_crash_may_come_before_or_after(takes_effect: bool, status: str) -> None:
    shop = shop_with_order()
    shop.act({"do": "crash", "takes_effect": takes_effect}, NOW)
    assert code(call(shop)) == (500, "crashed")
    assert listed(shop)["status"] == status


def test_webhooks_are_signed_and_told_apart() -> None:
    shop = shop_with_order()
    shop.act({"do": "pack", "order_id": "o-1"}, NOW)
    shop.act({"do": "send_greeting"}, NOW)
    sent = shop.emitted()
    assert shop.emitted() == []
    assert len({json.loads(each.body)["id"] for each in sent}) == 3
    for each in sent:
        request = InboundRequest(CIMultiDict(each.headers), {}, each.body)
        right = VerifyOptions(scheme="standard_webhooks", secrets=(SecretStr(DEFAULT_SIGNING_SECRET),))
        verify_scheme(request, right, utc_time(NOW))
        wrong = VerifyOptions(scheme="standard_webhooks", secrets=(SecretStr("whsec_b3RoZXI="),))
        with pytest.raises(VerificationError):
            verify_scheme(request, wrong, utc_time(NOW))


def test_what_is_silent_sends_nothing() -> None:
    shop = ExampleShop()
    shop.act({"do": "create_order", "order_id": "o-1", "silent": True}, NOW)
    shop.act({"do": "pack", "order_id": "o-1", "silent": True}, NOW)
    assert shop.emitted() == []
    assert listed(shop)["status"] == "packing"


def test_rules_and_keys_are_the_shop_s() -> None:
    shop = shop_with_order()
    shop.act({"do": "book_delivery", "order_id": "o-1", "starts_at": utc_time(NOW + 2 * HOUR).isoformat()}, NOW)
    assert shop.act({"do": "set_rules", "cutoff_h": 1}, NOW) == {"cutoff_h": 1.0}
    shop.act({"do": "set_api_keys", "api_keys": ["new"]}, NOW)
    assert code(call(shop)) == (401, "unauthorized")
    assert call(shop, key="new")[0] == 200


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ({}, "cannot do ''"),
        ({"do": "create_order", "order_id": "o-1"}, "there already"),
        ({"do": "create_order", "colour": 1}, "takes no colour"),
        ({"do": "pack"}, "no order"),
        ({"do": "list", "order_id": "x"}, "no order"),
        ({"do": "book_delivery", "order_id": "o-1", "starts_at": "soon"}, "isoformat"),
        ({"do": "book_delivery", "order_id": "o-1", "starts_at": "2026-03-04T16:00:00"}, "offset"),
        ({"do": "book_delivery", "order_id": "o-1", "minutes": "x"}, "float"),
        ({"do": "book_delivery", "order_id": "o-1", "minutes": 1e300}, "cannot read"),
        ({"do": "set_limits", "requests": 0}, "1 or more"),
        ({"do": "set_limits", "per_s": 0}, "above 0"),
        ({"do": "set_rules", "cutoff_h": "x"}, "float"),
        ({"do": "set_api_keys", "api_keys": []}, "at least one"),
        ({"do": "set_api_keys", "api_keys": "key"}, "at least one"),
        ({"do": "crash", "times": "x"}, "invalid literal"),
    ],
)
def test_what_cannot_be_done_is_explained_and_changes_nothing(action: dict[str, Any], says: str) -> None:
    shop = shop_with_order()
    shop.emitted()
    before = shop.act({"do": "list"}, NOW)
    with pytest.raises(ValueError, match=says):
        shop.act(action, NOW)
    assert shop.act({"do": "list"}, NOW) == before
    assert shop.emitted() == []


@pytest.mark.parametrize("last", ["deliver", "cancel_by_staff"])
def test_nothing_becomes_of_what_is_final(last: str) -> None:
    shop = shop_with_order()
    shop.act({"do": last, "order_id": "o-1"}, NOW)
    for step in STEPS:
        with pytest.raises(ValueError, match="nothing more"):
            shop.act({"do": step, "order_id": "o-1"}, NOW)
