from __future__ import annotations

import json
from typing import Any

import pytest
from contract.handler_cases import context, converse
from unit.shoplazza.calling import (
    BASE,
    CANCEL,
    DETAILS,
    NOW,
    WEBHOOKS,
    act,
    call,
    errors,
    heard,
    look,
    provider_with_order,
    summary,
)
from unit.shoplazza.support import CONFIG, ID

from app.contract import CancelOutcome, CancelRequest, HttpRequest, HttpResponse, Order, Phase, ProbeUnavailable
from handlers.shoplazza.cancel import cancel, probe
from handlers.shoplazza.simulator import (
    DEFAULT_ACCESS_TOKEN,
    ERROR_STYLES,
    INTERNAL_WORDS,
    NOT_CANCELABLE,
    NOT_FOUND,
    STEPS,
    Shoplazza,
)

# -- Cancel Order ----------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["cancelled", "canceled"])
def test_an_unpaid_order_is_canceled(spelling: str) -> None:
    provider = provider_with_order(paid=False, canceled_status=spelling)
    code, answer = call(provider, body={"reason": "Customer changed their mind"}, now=NOW + 1)
    shown = answer["order"]
    assert code == 200
    assert (shown["id"], shown["status"], shown["cancel_reason"]) == (ID, spelling, "Customer changed their mind")
    assert shown["canceled_at"] == shown["updated_at"] == "2026-03-02T16:04:06.000000Z"
    assert heard(provider) == ["orders/cancelled"]
    assert look(provider)[1]["order"] == shown


@pytest.mark.parametrize(
    ("at_once", "statuses", "payments"),
    [
        (False, ["cancelled", "cancelled", "finished"], ["paid", "refunded", "refunded"]),
        (True, ["finished"] * 3, ["refunded"] * 3),
    ],
)
def test_an_order_that_was_paid_ends_as_finished(at_once: bool, statuses: list[str], payments: list[str]) -> None:
    provider = provider_with_order(finishes_at_once=at_once)
    shown = call(provider)[1]["order"]
    webhooks = provider.emitted()
    told = [json.loads(each.body)["order"] for each in webhooks]
    assert [each.headers["X-Shoplazza-Topic"] for each in webhooks] == [
        "orders/cancelled",
        "orders/refunded",
        "orders/finished",
    ]
    assert shown == told[0]
    assert [each["status"] for each in told] == statuses
    assert [each["financial_status"] for each in told] == payments
    # Whatever its status is, that it was canceled shows; and what came later has a later time.
    assert all(each["canceled_at"] == shown["updated_at"] for each in told)
    assert len({each["updated_at"] for each in told}) == (1 if at_once else 3)
    assert look(provider)[1]["order"] == told[2]
    assert told[2]["total_refund_price"] == told[2]["total_price"]


@pytest.mark.parametrize("step", ["ship", "finish", "return"])
def test_what_has_left_is_not_canceled(step: str) -> None:
    provider = provider_with_order()
    act(provider, step)
    provider.emitted()
    assert call(provider) == (406, errors(NOT_CANCELABLE))
    assert summary(provider)["cancel_effects"] == 0
    assert provider.emitted() == []


@pytest.mark.parametrize("step", ["update", "ship_partially", "unship", "refund_partially", "refund"])
def test_anything_else_is_canceled(step: str) -> None:
    provider = provider_with_order()
    act(provider, step)
    assert call(provider)[0] == 200


def test_canceling_twice_shows() -> None:
    provider = provider_with_order()
    assert call(provider)[0] == 200
    assert call(provider) == (406, errors(NOT_CANCELABLE))
    shown = summary(provider)
    assert (shown["cancel_calls"], shown["cancel_effects"]) == (2, 1)


@pytest.mark.parametrize(
    ("style", "missing", "wrong"),
    [
        ("list", errors(NOT_FOUND), errors("reason must be a string")),
        ("dict", {"errors": {"base": [NOT_FOUND]}}, {"errors": {"reason": ["must be a string"]}}),
        ("string", {"error": NOT_FOUND}, {"error": "must be a string"}),
    ],
)
def test_errors_have_three_shapes(style: str, missing: Any, wrong: Any) -> None:
    assert style in ERROR_STYLES
    provider = provider_with_order(error_style=style)
    assert call(provider, "/orders/1/cancel") == (404, missing)
    assert call(provider, "/orders/1", method="GET") == (404, missing)
    assert call(provider, body={"reason": 7}) == (400, wrong)


@pytest.mark.parametrize("body", [b"", b"[1]", b"no JSON", b"{}", b'{"reason":null}'])
def test_a_reason_is_optional(body: bytes) -> None:
    assert call(provider_with_order(), body=body)[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", CANCEL),
        ("PUT", DETAILS),
        ("GET", "/orders"),
        ("POST", "/orders//cancel/"),
        ("DELETE", WEBHOOKS),
        ("GET", ""),
        ("GET", "/../2025-06/orders/1"),
    ],
)
def test_there_is_nothing_else(method: str, path: str) -> None:
    assert call(provider_with_order(), path, method=method) == (404, {"error": "page not found"})


def test_another_version_is_not_there() -> None:
    request = HttpRequest("GET", f"https://x.example/openapi/2025-06{DETAILS}", {"access-token": DEFAULT_ACCESS_TOKEN})
    assert provider_with_order().handle(request, NOW).status == 404


# -- Access ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401])
def test_a_wrong_token_is_unauthorized(status: int) -> None:
    provider = provider_with_order(unauthorized_status=status)
    for token in ("", "wrong"):
        assert call(provider, token=token) == (status, errors("Unauthorized"))
        assert look(provider, token=token) == (status, errors("Unauthorized"))
    assert summary(provider)["cancel_calls"] == 0


def test_each_call_requires_its_scope() -> None:
    provider = provider_with_order()
    provider.act({"do": "set_access", "scopes": ["read_order"]}, NOW)
    assert call(provider) == (403, errors("Requires the write_order access scope"))
    assert look(provider)[0] == 200
    provider.act({"do": "set_access", "scopes": ["write_order"]}, NOW)
    assert look(provider)[0] == 403
    assert call(provider, WEBHOOKS, {"address": "https://x.example", "topic": "orders/paid"})[0] == 403
    assert call(provider)[0] == 200


def test_an_uninstalled_app_has_no_access_until_it_is_installed_again() -> None:
    provider = provider_with_order()
    call(provider, WEBHOOKS, {"address": "https://x.example", "topic": "orders/paid"})
    assert provider.act({"do": "uninstall_app"}, NOW) == {"installed": False}
    assert heard(provider) == ["app/uninstalled"]
    assert call(provider)[0] == 400
    assert provider.act({"do": "list"}, NOW)["webhooks"] == []
    provider.act({"do": "set_access", "access_token": "new"}, NOW)
    assert call(provider)[0] == 400
    assert call(provider, token="new")[0] == 200


# -- Limits and crashes ----------------------------------------------------------------------


def test_the_bucket_holds_40_calls_and_leaks_2_a_second() -> None:
    provider = provider_with_order()
    assert [look(provider)[0] for _ in range(42)] == [200] * 40 + [429] * 2
    assert look(provider, now=NOW + 0.49)[0] == 429
    assert [look(provider, now=NOW + 0.51)[0] for _ in range(2)] == [200, 429]
    assert [look(provider, now=NOW + 10.51)[0] for _ in range(21)] == [200] * 20 + [429]


def test_the_store_has_a_bucket_of_its_own() -> None:
    provider = provider_with_order()
    # Whoever calls with other tokens uses up the store's 80.
    codes = [look(provider, token=f"app-{number % 3}")[0] for number in range(81)]
    assert codes == [400] * 80 + [429]
    assert look(provider)[0] == 429
    assert look(provider, now=NOW + 0.06)[0] == 200


def test_beyond_the_limit_nothing_happens() -> None:
    provider = provider_with_order(burst=1, per_s=10)
    assert look(provider)[0] == 200
    assert call(provider) == (429, errors("Too Many Requests"))
    assert summary(provider)["cancel_calls"] == 0
    assert call(provider, now=NOW + 10)[0] == 200


def test_the_limit_can_be_set() -> None:
    provider = provider_with_order(burst=1)
    assert provider.act({"do": "set_limits", "burst": 3, "per_s": 1}, NOW) == {"burst": 3, "per_s": 1.0}
    assert [look(provider)[0] for _ in range(4)] == [200, 200, 200, 429]
    for bad in ({"burst": 0}, {"per_s": 0}, {"burst": "many"}):
        with pytest.raises(ValueError):
            provider.act({"do": "set_limits", **bad}, NOW)


@pytest.mark.parametrize(("told", "headers"), [(True, {"retry-after": "8"}), (False, {})])
def test_a_429_says_when_to_come_again_only_if_wanted(told: bool, headers: dict[str, str]) -> None:
    provider = provider_with_order(burst=1, per_s=10, retry_after=told)
    request = HttpRequest("GET", BASE + DETAILS, {"access-token": DEFAULT_ACCESS_TOKEN})
    provider.handle(request, NOW)
    answer: HttpResponse = provider.handle(request, NOW + 2.5)
    assert {name: value for name, value in answer.headers.items() if name != "content-type"} == headers


@pytest.mark.parametrize("word", INTERNAL_WORDS)
@pytest.mark.parametrize("takes_effect", [True, False])
def test_a_crash_may_come_after_the_effect(word: str, takes_effect: bool) -> None:
    provider = provider_with_order()
    provider.act({"do": "crash", "word": word, "takes_effect": takes_effect}, NOW)
    assert call(provider) == (500, errors(f"rpc error: code = {word}"))
    assert summary(provider)["cancel_effects"] == int(takes_effect)
    assert call(provider)[0] == (406 if takes_effect else 200)


def test_a_crash_says_a_documented_word() -> None:
    with pytest.raises(ValueError, match="Aborted"):
        Shoplazza().act({"do": "crash", "word": "Boom"}, NOW)


# -- The provider's side ---------------------------------------------------------------------


def test_orders_are_created_paid_and_deleted() -> None:
    provider = Shoplazza()
    shown = provider.act({"do": "create_order", "number": "N-1", "total_price": "5.00"}, NOW)
    assert (shown["order_id"], shown["number"], shown["status"]) == (ID, "N-1", "opened")
    assert act(provider, "pay", NOW + 1)["status"] == "placed"
    with pytest.raises(ValueError, match="paid already"):
        act(provider, "pay")
    assert (
        provider.act({"do": "create_order", "paid": True, "order_id": "x", "silent": True}, NOW)["status"] == "placed"
    )
    with pytest.raises(ValueError, match="there already"):
        provider.act({"do": "create_order", "order_id": ID}, NOW)
    act(provider, "delete", NOW + 2)
    assert heard(provider) == ["orders/create", "orders/paid", "orders/delete"]
    assert look(provider) == (404, errors(NOT_FOUND))
    assert call(provider) == (404, errors(NOT_FOUND))
    assert len(provider.act({"do": "list"}, NOW)["orders"]) == 2


def test_nothing_becomes_of_what_is_over() -> None:
    provider = provider_with_order()
    assert act(provider, "cancel_by_staff")["cancel_reason"] == "Out of stock"
    assert (summary(provider)["cancel_calls"], summary(provider)["cancel_effects"]) == (0, 0)
    assert heard(provider)[0] == "orders/cancelled"
    for action in ("pay", "cancel_by_staff", *STEPS):
        with pytest.raises(ValueError, match="nothing more"):
            act(provider, action)
    with pytest.raises(ValueError, match="no order"):
        provider.act({"do": "ship", "order_id": "1"}, NOW)
    with pytest.raises(ValueError, match="list of strings"):
        provider.act({"do": "set_access", "scopes": "all"}, NOW)


# -- The handler at the simulator ------------------------------------------------------------


def request_cancel(provider: Shoplazza) -> CancelOutcome:
    return converse(cancel([CancelRequest(Order("a", ID), "x")], CONFIG, context()), provider, NOW)[0].outcome


@pytest.mark.parametrize("style", ERROR_STYLES)
def test_the_handler_understands_every_refusal(style: str) -> None:
    provider = provider_with_order(error_style=style)
    provider.act({"do": "crash", "word": "Unimplemented"}, NOW)
    assert request_cancel(provider) is CancelOutcome.RETRY
    act(provider, "ship")
    assert request_cancel(provider) is CancelOutcome.REFUSED
    act(provider, "delete")
    assert request_cancel(provider) is CancelOutcome.REFUSED
    [found] = converse(probe([Order("a", ID)], CONFIG, context()), provider, NOW)
    assert isinstance(found, ProbeUnavailable)
    assert found.outcome is CancelOutcome.REFUSED
    provider.act({"do": "uninstall_app"}, NOW)
    assert request_cancel(provider) is CancelOutcome.UNAUTHORIZED
    provider.act({"do": "set_limits", "burst": 1}, NOW)
    assert request_cancel(provider) is CancelOutcome.THROTTLED


@pytest.mark.parametrize("word", ["Aborted", "NotFound", "Unauthenticated", "DeadlineExceeded"])
def test_a_crash_after_the_effect_is_found_out_by_asking(word: str) -> None:
    provider = provider_with_order()
    provider.act({"do": "crash", "word": word, "takes_effect": True}, NOW)
    assert request_cancel(provider) is CancelOutcome.INDETERMINATE
    [found] = converse(probe([Order("a", ID)], CONFIG, context()), provider, NOW)
    assert not isinstance(found, ProbeUnavailable)
    assert found.phase is Phase.CANCELED
    assert summary(provider)["cancel_effects"] == 1
