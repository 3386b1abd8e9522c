from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from multidict import CIMultiDict
from pydantic import SecretStr
from unit.kibo.support import CONFIG

from app.contract import HttpRequest, InboundRequest, ParsedEvent, VerificationError, VerifyOptions
from handlers.kibo.cancel import CANCEL_PATH
from handlers.kibo.signature import verify
from handlers.kibo.simulator import DEFAULT_SECRET, DEFAULT_TENANT, NOT_CANCELABLE, STEPS, Kibo
from handlers.kibo.webhook import parse

NOW = 1_772_467_445.25
ID = 1010101
GOOD = {"orderID": ID, "dispositionReason": "customer_changed_mind"}
TENANT = {"x-vol-tenant": DEFAULT_TENANT}


def call(
    provider: Kibo, body: Any, method: str = "POST", path: str = CANCEL_PATH, now: float = NOW, **headers: str
) -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {**TENANT, **{name.replace("_", "-"): value for name, value in headers.items()}}
    answer = provider.handle(HttpRequest(method, f"https://10001-translation.mozu.com{path}", sent, raw), now)
    assert answer.headers["content-type"] == "application/json"
    return answer.status, json.loads(answer.body)


def get(provider: Kibo, name: object = ID, now: float = NOW) -> tuple[int, Any]:
    return call(provider, b"", "GET", f"/api/v2/order/{name}", now)


def provider_with_order(order: dict[str, Any] | None = None, **options: Any) -> Kibo:
    provider = Kibo(**options)
    provider.act({"do": "create_order", **(order or {})}, NOW)
    provider.emitted()
    return provider


def summary(provider: Kibo, order_id: object = ID) -> dict[str, Any]:
    [found] = provider.act({"do": "list", "order_id": order_id}, NOW)["orders"]
    assert isinstance(found, dict)
    return found


def webhooks(provider: Kibo) -> list[dict[str, Any]]:
    return [json.loads(each.body) for each in provider.emitted()]


# -- Cancel Order ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["Pending", "Submitted", "Validated", "Pending Review", "Accepted", "Processing"])
@pytest.mark.parametrize("reason", ["customer_changed_mind", "created_by_mistake"])
def test_an_order_is_canceled_and_answered_with(status: str, reason: str) -> None:
    provider = provider_with_order({"status": status})
    code, order = call(provider, {**GOOD, "dispositionReason": reason})
    assert (code, order["orderID"], order["orderState"], order["orderStatus"]) == (200, ID, "CANCELED", "Cancelled")
    assert get(provider) == (200, order)
    assert summary(provider)["cancel_reason"] == reason
    [webhook] = webhooks(provider)
    assert (webhook["topic"], webhook["entityId"]) == ("order.cancelled", order["entityId"])
    assert webhook["entityId"] != str(ID)


@pytest.mark.parametrize("explanation", ["x", "x" * 255])
def test_other_comes_with_an_explanation(explanation: str) -> None:
    provider = provider_with_order()
    body = {**GOOD, "dispositionReason": "other", "dispositionOtherReason": explanation}
    assert call(provider, body)[0] == 200
    assert summary(provider)["cancel_reason"] == explanation


def test_an_explanation_of_another_reason_is_not_read() -> None:
    provider = provider_with_order()
    assert call(provider, {**GOOD, "dispositionOtherReason": "x" * 256})[0] == 200
    assert summary(provider)["cancel_reason"] == "customer_changed_mind"


@pytest.mark.parametrize(
    "body",
    [
        {"dispositionReason": "other", "dispositionOtherReason": "x"},
        *({**GOOD, "orderID": each} for each in (None, 0, -1, True, "1010101", 1010101.0, [])),
        {"orderId": ID, "dispositionReason": "customer_changed_mind"},
        {"orderID": ID},
        *({**GOOD, "dispositionReason": each} for each in (None, "", "weather", 7, [])),
        {**GOOD, "dispositionReason": "other"},
        *({**GOOD, "dispositionReason": "other", "dispositionOtherReason": each} for each in (None, "", "x" * 256, 7)),
        b"orderID=1010101",
        b"[1]",
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_not_as_documented_is_refused(body: Any) -> None:
    provider = provider_with_order()
    code, said = call(provider, body)
    assert (code, said["errorCode"]) == (400, "INVALID_PARAMETER")
    assert summary(provider)["cancel_effects"] == 0
    assert provider.emitted() == []


@pytest.mark.parametrize(
    "steps",
    [
        [{"do": "ship_part"}],
        [{"do": "fulfill"}],
        [{"do": "close"}],
        [{"do": "error"}],
        [{"do": "abandon"}],
        [{"do": "cancel_by_staff"}],
        [{"do": "restrict"}],
    ],
)
def test_some_orders_are_not_canceled(steps: list[dict[str, Any]]) -> None:
    provider = provider_with_order()
    for each in steps:
        provider.act({**each, "order_id": ID}, NOW)
    provider.emitted()
    before = get(provider)
    code, said = call(provider, GOOD)
    assert (code, said["errorCode"]) == (409, "INVALID_STATE")
    assert NOT_CANCELABLE in said["message"]
    assert get(provider) == before
    assert provider.emitted() == []


def test_a_restriction_can_be_lifted() -> None:
    provider = provider_with_order({"restricted": True})
    assert get(provider)[1]["restrictCancellation"] is True
    assert call(provider, GOOD)[0] == 409
    provider.act({"do": "restrict", "order_id": ID, "restricted": False}, NOW)
    assert [each["topic"] for each in webhooks(provider)] == ["order.updated"]
    assert call(provider, GOOD)[0] == 200


def test_whether_a_part_may_be_fulfilled_is_admin_managed() -> None:
    provider = provider_with_order()
    provider.act({"do": "ship_part", "order_id": ID}, NOW)
    assert get(provider)[1]["fulfillmentStatus"] == "PartiallyFulfilled"
    provider.act({"do": "set_rules", "partially_fulfilled": True}, NOW)
    assert call(provider, GOOD)[0] == 200
    assert call(provider, {**GOOD, "dispositionReason": "weather"})[0] == 400
    provider.act({"do": "set_rules", "disposition_reasons": ["weather"]}, NOW)
    assert call(provider, {**GOOD, "dispositionReason": "weather"})[0] == 409


def test_canceling_twice_shows() -> None:
    provider = provider_with_order()
    assert call(provider, GOOD)[0] == 200
    assert call(provider, GOOD)[0] == 409
    shown = summary(provider)
    assert (shown["cancel_calls"], shown["cancel_effects"]) == (2, 1)
    assert shown["canceled_at"] == "2026-03-02T16:04:05.2500000Z"
    assert len(webhooks(provider)) == 1


def test_a_cancel_may_take_a_while() -> None:
    provider = provider_with_order()
    provider.act({"do": "defer_cancels"}, NOW)
    code, order = call(provider, GOOD)
    assert (code, order["orderState"], order["orderStatus"]) == (200, "READY", "Accepted")
    assert call(provider, GOOD)[0] == 409
    assert provider.emitted() == []
    provider.act({"do": "finish_cancel", "order_id": ID}, NOW + 9)
    assert get(provider)[1]["orderState"] == "CANCELED"
    assert [each["topic"] for each in webhooks(provider)] == ["order.cancelled"]
    assert summary(provider)["cancel_effects"] == 1


# -- Who may call, and how often -------------------------------------------------------------


@pytest.mark.parametrize("tenant", ["10002", "", "t10001"])
def test_another_tenant_is_not_let_in(tenant: str) -> None:
    provider = provider_with_order()
    assert call(provider, GOOD, x_vol_tenant=tenant)[0] == 401
    raw = json.dumps(GOOD).encode()
    assert provider.handle(HttpRequest("POST", CANCEL_PATH, {}, raw), NOW).status == 401
    assert provider.handle(HttpRequest("POST", CANCEL_PATH, {"X-Vol-Tenant": DEFAULT_TENANT}, raw), NOW).status == 200


def test_a_tenant_without_translated_apis_gets_errors() -> None:
    provider = provider_with_order(translated=False)
    for method, path in (("POST", CANCEL_PATH), ("GET", f"/api/v2/order/{ID}")):
        answer = provider.handle(HttpRequest(method, path, TENANT, json.dumps(GOOD).encode()), NOW)
        assert (answer.status, answer.headers["content-type"]) == (404, "text/html")
    provider.act({"do": "set_tenant", "translated": True}, NOW)
    assert call(provider, GOOD)[0] == 200


def test_a_tenant_may_want_a_credential() -> None:
    provider = provider_with_order(credential="Bearer x")
    assert call(provider, GOOD)[0] == 401
    assert call(provider, GOOD, authorization="Bearer y")[0] == 401
    assert call(provider, GOOD, authorization="Bearer x")[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", CANCEL_PATH),
        ("POST", f"/api/v2/order/{ID}"),
        ("GET", "/api/v2/order/"),
        ("GET", f"/api/v2/order/{ID}/items"),
        ("GET", f"/api/v3/order/{ID}"),
        ("GET", "/api/v2/order/1"),
        ("GET", "/api/v2/order/unknown"),
        ("GET", "/api/v2/order/" + "9" * 5000),
    ],
)
def test_there_is_nothing_else(method: str, path: str) -> None:
    assert call(provider_with_order(), b"", method, path)[0] == 404


def test_an_unknown_order_is_told_from_a_bad_one() -> None:
    code, said = call(provider_with_order(), {**GOOD, "orderID": 7})
    assert (code, said["errorCode"]) == (404, "ITEM_NOT_FOUND")


def test_an_order_is_fetched_by_either_name() -> None:
    provider = provider_with_order({"entity_id": "a b/c"})
    shown = get(provider)[1]
    assert get(provider, "a%20b%2Fc") == (200, shown)
    assert (shown["orderID"], shown["entityId"]) == (ID, "a b/c")


def test_an_order_is_fetched_by_an_entity_that_is_a_number_unless_another_order_has_it() -> None:
    provider = provider_with_order({"entity_id": "1024"})
    assert get(provider, "1024")[1]["orderID"] == ID
    provider.act({"do": "create_order", "order_id": 1024}, NOW)
    assert get(provider, "1024")[1]["orderID"] == 1024


def test_no_window_sees_more_calls_than_the_limit() -> None:
    provider = provider_with_order()
    codes = [get(provider, now=NOW + number * 0.5)[0] for number in range(70)]
    assert codes == [200] * 60 + [429] * 10
    assert [get(provider, now=NOW + after)[0] for after in (59.9, 60, 60.1, 60.5)] == [429, 200, 429, 200]


def test_beyond_the_limit_nothing_happens() -> None:
    provider = provider_with_order(requests=1, per_s=10)
    assert get(provider)[0] == 200
    assert call(provider, GOOD)[0] == 429
    assert summary(provider)["status"] == "Accepted"
    provider.act({"do": "set_limits", "requests": 2, "per_s": 5}, NOW)
    assert [call(provider, GOOD)[0] for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(("told", "after"), [(True, "46"), (False, None)])
def test_a_429_says_when_to_come_again_only_if_wanted(told: bool, after: str | None) -> None:
    provider = provider_with_order(requests=1, retry_after=told)
    request = HttpRequest("GET", f"/api/v2/order/{ID}", TENANT)
    provider.handle(request, NOW)
    assert provider.handle(request, NOW + 15).headers.get("retry-after") == after


@pytest.mark.parametrize("takes_effect", [True, False])
def test_a_crash_may_come_after_the_effect(takes_effect: bool) -> None:
    provider = provider_with_order()
    provider.act({"do": "crash", "times": 1, "takes_effect": takes_effect}, NOW)
    assert call(provider, GOOD)[0] == 500
    assert summary(provider)["cancel_effects"] == int(takes_effect)
    assert call(provider, GOOD)[0] == (409 if takes_effect else 200)


# -- The webhooks ----------------------------------------------------------------------------


def prove(webhook: HttpRequest, secret: str, now: float) -> None:
    options = VerifyOptions(secrets=(SecretStr(secret),))
    verify(InboundRequest(CIMultiDict(webhook.headers), {}, webhook.body), options, datetime.fromtimestamp(now, UTC))


def test_a_webhook_is_thin_signed_and_fresh() -> None:
    provider = Kibo(secret="s3cret")
    order = provider.act({"do": "create_order"}, NOW)
    [webhook] = provider.emitted()
    assert (webhook.method, webhook.url) == ("POST", "")
    assert webhook.headers["Date"] == "Mon, 02 Mar 2026 16:04:05 GMT"
    assert webhook.headers["x-vol-tenant"] == DEFAULT_TENANT
    prove(webhook, "s3cret", NOW)
    for secret, now in ((DEFAULT_SECRET, NOW), ("s3cret", NOW + 200)):
        with pytest.raises(VerificationError):
            prove(webhook, secret, now)
    body = json.loads(webhook.body)
    assert list(body) == [
        *("eventId", "extendedProperties", "topic", "entityId", "timestamp", "correlationId", "isTest"),
    ]
    assert body["entityId"] == order["entity_id"]
    assert body["timestamp"] == "2026-03-02T16:04:05.2500000Z"


@pytest.mark.parametrize("step", list(STEPS))
def test_a_step_changes_the_order_and_sends_its_events(step: str) -> None:
    provider = provider_with_order()
    wanted = STEPS[step]
    shown = provider.act({"do": step, "order_id": ID}, NOW + 1)
    assert shown["status"] == (wanted.status or "Accepted")
    assert shown["fulfillment_status"] == (wanted.fulfillment or "NotFulfilled")
    emitted = provider.emitted()
    assert tuple(json.loads(each.body)["topic"] for each in emitted) == wanted.topics
    for each in emitted:
        prove(each, DEFAULT_SECRET, NOW + 1)
        parsed = parse(InboundRequest(CIMultiDict(each.headers), {}, each.body), CONFIG)
        assert not hasattr(parsed, "reason"), "every webhook names its order"
        [seen] = parsed
        assert isinstance(seen, ParsedEvent)
        assert seen.order == shown["entity_id"]


def test_a_resend_is_the_same_event_with_a_fresh_date() -> None:
    provider = Kibo()
    provider.act({"do": "create_order"}, NOW)
    provider.act({"do": "fulfill", "order_id": ID}, NOW + 1)
    first = provider.emitted()[1:]
    assert provider.act({"do": "resend"}, NOW + 600) == {"resent": 2}
    again = provider.emitted()
    for one, other in zip(first, again, strict=True):
        prove(other, DEFAULT_SECRET, NOW + 600)
        assert one.body != other.body, "the id of the event is without dashes"
        keys = []
        for each in (one, other):
            parsed = parse(InboundRequest({}, {}, each.body), CONFIG)
            assert not hasattr(parsed, "reason")
            keys.append(parsed[0].key)
        assert keys[0] == keys[1]
    with pytest.raises(ValueError, match="nothing was sent yet"):
        Kibo().act({"do": "resend"}, NOW)


def test_what_is_silent_sends_nothing() -> None:
    provider = Kibo()
    provider.act({"do": "create_order", "silent": True}, NOW)
    provider.act({"do": "fulfill", "order_id": ID, "silent": True}, NOW)
    provider.act({"do": "restrict", "order_id": ID, "silent": True}, NOW)
    assert provider.emitted() == []
    assert summary(provider)["fulfillment_status"] == "Fulfilled"


def test_orders_take_the_ids_and_details_they_are_given() -> None:
    provider = Kibo()
    provider.act({"do": "create_order", "order_id": 7, "entity_id": "e-1", "total": 5, "is_test": True}, NOW)
    provider.act({"do": "create_order", "imported": True}, NOW)
    first, second = webhooks(provider)
    assert (first["topic"], first["entityId"], first["isTest"]) == ("order.opened", "e-1", True)
    assert (second["topic"], second["isTest"]) == ("order.imported", False)
    shown = get(provider, 7)[1]
    assert (shown["total"], shown["isTestOrder"]) == (5, True)
    assert provider.act({"do": "accept", "entity_id": "e-1"}, NOW)["order_id"] == 7


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ({}, "cannot do ''"),
        ({"do": "fly"}, "create_order"),
        ({"do": ["x"]}, "cannot do"),
        ({"do": "create_order", "order_id": ID}, "there already"),
        ({"do": "create_order", "order_id": 0}, "not 1 or more"),
        ({"do": "create_order", "order_id": "x"}, "invalid literal"),
        ({"do": "create_order", "colour": 1}, "takes no colour"),
        ({"do": "fulfill"}, "no order"),
        ({"do": "fulfill", "order_id": 1}, "no order"),
        ({"do": "list", "entity_id": "x"}, "no order"),
        ({"do": "finish_cancel", "order_id": ID}, "no cancel"),
        ({"do": "set_limits", "requests": 0}, "1 or more"),
        ({"do": "set_limits", "per_s": 0}, "above 0"),
        ({"do": "set_limits", "requests": []}, "cannot read"),
        ({"do": "set_rules", "disposition_reasons": "other"}, "list of strings"),
        ({"do": "crash", "times": "x"}, "invalid literal"),
        ({"do": "defer_cancels", "times": "x"}, "invalid literal"),
    ],
)
def test_what_cannot_be_done_is_explained_and_changes_nothing(action: dict[str, Any], says: str) -> None:
    provider = provider_with_order()
    before = provider.act({"do": "list"}, NOW)
    with pytest.raises(ValueError, match=says):
        provider.act(action, NOW)
    assert provider.act({"do": "list"}, NOW) == before
    assert provider.emitted() == []


def test_nothing_becomes_of_a_canceled_order() -> None:
    provider = provider_with_order()
    provider.act({"do": "cancel_by_staff", "order_id": ID}, NOW)
    assert summary(provider)["canceled_at"] is not None
    assert get(provider)[1]["orderState"] == "CANCELED"
    for action in STEPS:
        with pytest.raises(ValueError, match="is canceled"):
            provider.act({"do": action, "order_id": ID}, NOW)
