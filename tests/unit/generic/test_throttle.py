"""Limits that sources state in their responses, in the forms that Shopify, BigCommerce and Toast document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from unit.generic.support import CALL, NOW, SMALL, make, order

from app.contract import CancelRequest, CancelResult, Context, Facts, HttpResponse, ProbeUnavailable
from handlers.generic.cancel import cancel, probe

POINTS = "extensions.cost.throttleStatus"
# https://shopify.dev/docs/api/usage/limits: cost points come back at `restoreRate` a second.
SHOPIFY_GRAPHQL = {
    "remaining": f"{POINTS}.currentlyAvailable",
    "at_most": 99,
    "restored_per_s": f"{POINTS}.restoreRate",
}
# https://shopify.dev/docs/api/admin-rest/usage/rate-limits: a bucket of 40 calls that leaks 2 a second.
SHOPIFY_REST = {"remaining": "header:X-Shopify-Shop-Api-Call-Limit", "at_most": 1, "restored_per_s": 2}
# https://developer.bigcommerce.com/docs/start/best-practices/api-rate-limits
BIGCOMMERCE = {
    "remaining": "header:X-Rate-Limit-Requests-Left",
    "wait": "header:X-Rate-Limit-Time-Reset-Ms",
    "unit": "ms",
}
# https://doc.toasttab.com/doc/devguide/apiRateLimiting.html: the time of the reset, in unix seconds.
TOAST = {"remaining": "header:X-Toast-RateLimit-Remaining", "wait": "header:X-Toast-RateLimit-Reset", "unit": "unix"}
THEN = int(NOW.timestamp())
SPENT = {"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}]}


def cost(available: float, *, rate: Any = 50.0, **more: Any) -> dict[str, Any]:
    status = {"maximumAvailable": 2000.0, "currentlyAvailable": available, "restoreRate": rate}
    return {"data": {}, "extensions": {"cost": {"requestedQueryCost": 10, "throttleStatus": status}}, **more}


def answer(body: Any = None, status: int = 200, **headers: str) -> HttpResponse:
    named = {name.replace("_", "-").lower(): text for name, text in headers.items()}
    return HttpResponse(status, {"content-type": "application/json", **named}, json.dumps(body or {}).encode())


def result(response: HttpResponse, throttle: Any, **changes: Any) -> tuple[CancelResult, float]:
    """What comes of a cancel that is answered so, and for how long the account is held."""
    context, config = Context(NOW), make(cancel={**CALL, "throttle": throttle, **changes})
    flow = cancel([CancelRequest(order(), "late")], config, context)
    next(flow)
    with pytest.raises(StopIteration) as end:
        flow.send(response)
    return end.value.value[0], context.hold_s


@pytest.mark.parametrize(
    ("throttle", "response", "hold_s"),
    [
        (SHOPIFY_GRAPHQL, answer(cost(1990)), 0),
        (SHOPIFY_GRAPHQL, answer(cost(100)), 0),
        (SHOPIFY_GRAPHQL, answer(cost(20.5)), 1.59),
        (SHOPIFY_GRAPHQL, answer(cost(0, rate=100)), 1),
        (SHOPIFY_REST, answer(x_shopify_shop_api_call_limit="38/40"), 0),
        (SHOPIFY_REST, answer(x_shopify_shop_api_call_limit="39/40"), 0.5),
        (SHOPIFY_REST, answer(x_shopify_shop_api_call_limit="40/40"), 1),
        (BIGCOMMERCE, answer(x_rate_limit_requests_left="6", x_rate_limit_time_reset_ms="3000"), 0),
        (BIGCOMMERCE, answer(x_rate_limit_requests_left="0", x_rate_limit_time_reset_ms="3000"), 3),
        (TOAST, answer(x_toast_ratelimit_remaining="1", x_toast_ratelimit_reset=str(THEN + 60)), 0),
        (TOAST, answer(x_toast_ratelimit_remaining="0", x_toast_ratelimit_reset=str(THEN + 60)), 60),
        (TOAST, answer(x_toast_ratelimit_remaining="0", x_toast_ratelimit_reset=str((THEN + 60) * 1000)), 60),
        ({**BIGCOMMERCE, "when": "busy"}, answer(x_rate_limit_requests_left="0", x_rate_limit_time_reset_ms="9"), 0),
        ({"wait": "limits.until", "unit": "iso", "when": "limits.reached"},
         answer({"limits": {"reached": True, "until": "2026-03-02T16:05:06Z"}}), 60),
        ({"wait": "limits.for", "when": "limits.reached"}, answer({"limits": {"reached": True, "for": 1.5}}), 1.5),
        ({"wait": "limits.for", "when": "limits.reached"}, answer({"limits": {"reached": False, "for": 1.5}}), 0),
        ({"wait": "header:ratelimit-reset"}, answer(ratelimit_reset="30"), 0),
    ],
)  # fmt: skip
def test_an_account_waits_when_little_is_left(throttle: Any, response: HttpResponse, hold_s: float) -> None:
    found, held_s = result(response, throttle)
    assert (found.outcome, held_s) == ("succeeded", pytest.approx(hold_s))


def test_what_denies_a_call_says_how_long_to_wait() -> None:
    rows = [{"when": "errors[?extensions.code == 'THROTTLED']", "outcome": "throttled"}]
    found, held_s = result(answer(cost(0, **SPENT)), SHOPIFY_GRAPHQL, answers=rows)
    assert (found.outcome, found.after_s, held_s) == ("throttled", 2, 2)
    # Points are left, but not as many as this call costs: the wait is not known.
    assert result(answer(cost(500, **SPENT)), SHOPIFY_GRAPHQL, answers=rows)[0].after_s is None
    for throttle, response, after_s in (
        (BIGCOMMERCE, answer(status=429, x_rate_limit_time_reset_ms="15000"), 15),
        (TOAST, answer(status=429, x_toast_ratelimit_reset=str(THEN + 9)), 9),
        (TOAST, answer(status=429, x_toast_ratelimit_reset=str(THEN + 9), retry_after="4"), 4),
        ({"wait": "header:ratelimit-reset"}, answer(status=429, ratelimit_reset="30"), 30),
        (BIGCOMMERCE, answer(status=429), None),
    ):
        found, held_s = result(response, throttle)
        assert (found.outcome, found.after_s, held_s) == ("throttled", after_s, 0)


def test_a_time_is_told_by_the_clock_of_the_source() -> None:
    late = {"date": "Mon, 02 Mar 2026 16:00:00 GMT"}  # four minutes and six seconds behind ours
    headers = {"x_toast_ratelimit_remaining": "0", "x_toast_ratelimit_reset": str(THEN - 246 + 60), **late}
    assert result(answer(**headers), TOAST)[1] == 60
    assert result(answer(**{**headers, "date": "yesterday"}), TOAST)[1] == 0


@pytest.mark.parametrize(
    "hostile",
    ["-5", "NaN", "inf", "1e300", "1_0", "soon", "", " ", "9" * 5000, "0x10", "\u0663", "86400000", "0", "-0", "1,5"],
)
def test_no_text_holds_an_account(hostile: str) -> None:
    for unit in ("s", "unix", "iso"):
        throttle = {"wait": "header:wait", "remaining": "header:left", "unit": unit}
        assert result(answer(wait=hostile, left="0"), throttle)[1] == 0, unit
        assert result(answer(wait=hostile, status=429), throttle)[0].after_s is None, unit
    if hostile not in ("0", "86400000"):
        assert result(answer(wait="5", left=hostile), {"wait": "header:wait", "remaining": "header:left"})[1] == 0


@pytest.mark.parametrize("hostile", [-5, 10**400, 1e300, True, None, [], {}, [5], {"a": 5}, "5 s", "\0"])
def test_no_json_holds_an_account(hostile: Any) -> None:
    body = json.dumps({"wait": hostile, "left": 0, "rate": hostile}).encode()
    for throttle in ({"wait": "wait", "remaining": "left"}, {"restored_per_s": "rate", "remaining": "left"}):
        found, held_s = result(HttpResponse(200, {"content-type": "application/json"}, body), throttle)
        assert (found.outcome, held_s) == ("succeeded", 0)
    for raw in (b"", b"<html>", b'{"wait": NaN, "left": 0}', b"[" * 5000):
        assert result(HttpResponse(200, {}, raw), {"wait": "wait", "remaining": "left"})[1] == 0
    assert result(answer({"left": 0, "rate": 0}), {"restored_per_s": "rate", "remaining": "left"})[1] == 0


def test_a_wait_is_an_hour_at_most() -> None:
    throttle = {"wait": "header:wait", "remaining": "header:left"}
    assert result(answer(wait="7200", left="0"), throttle)[1] == 3600
    assert result(answer(wait="86400", left="0"), throttle)[1] == 0, "another unit, or no wait"
    slow = {"remaining": "header:left", "restored_per_s": 0.001, "at_most": 50}
    assert result(answer(left="0"), slow)[1] == 3600


def test_one_throttle_may_be_for_all_calls() -> None:
    own = {"wait": "header:wait", "remaining": "header:left"}
    config = make(throttle=own, cancel={**CALL, "throttle": BIGCOMMERCE})
    response = answer({"id": "o-1", "status": "placed"}, wait="7", left="0")
    context = Context(NOW)
    flow = probe([order()], config, context)
    next(flow)
    with pytest.raises(StopIteration) as end:
        flow.send(response)
    assert isinstance(end.value.value[0], Facts)
    assert context.hold_s == 7
    assert result(response, BIGCOMMERCE)[1] == 0, "a call's own outranks it"
    denied = Context(NOW)
    flow = probe([order()], config, denied)
    next(flow)
    with pytest.raises(StopIteration) as end:
        flow.send(answer(status=429, wait="7"))
    unavailable = end.value.value[0]
    assert isinstance(unavailable, ProbeUnavailable)
    assert (unavailable.outcome, unavailable.after_s) == ("throttled", 7)


@pytest.mark.parametrize(
    ("throttle", "says"),
    [
        ({"remaining": "a"}, "say how long to wait"),
        ({"wait": "a", "remaining": "b", "restored_per_s": 2}, "say how long to wait"),
        ({"restored_per_s": 2}, "needs `remaining`"),
        ({"wait": "header:"}, "header:NAME"),
        ({"wait": "header:a b"}, "header:NAME"),
        ({"wait": "a["}, "ends too early"),
        ({"wait": "|".join(["[@, @]"] * 8)}, "again and again"),
        ({"wait": "a", "unit": "min"}, "'unix'"),
        ({"remaining": "a", "restored_per_s": 0}, "greater than 0"),
        ({"remaining": "a", "restored_per_s": float("inf")}, "finite"),
        ({"wait": "a", "at_most": -1}, "greater than or equal to 0"),
    ],
)
def test_a_throttle_is_checked_when_it_is_saved(throttle: Any, says: str) -> None:
    with pytest.raises(ValidationError, match="cancel") as caught:
        make(cancel={**CALL, "throttle": throttle})
    assert says in str(caught.value)
    assert SMALL["cancel"] == CALL
