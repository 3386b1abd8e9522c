from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from unit.superloop.support import NOW, keys

from app.contract import HttpRequest, HttpResponse
from handlers.superloop.simulated_tokens import EXAMPLE_ACCESS_TOKEN
from handlers.superloop.simulator import APPOINTMENT_STEPS, NOT_CANCELABLE, ORDER_STEPS, Superloop

CANCEL, ORDER = "/api/connect/orders/cancel", "/api/connect/orders/10"
AT = NOW.timestamp()
HOUR = 3600.0
GOOD = {"Authorization": f"Bearer {EXAMPLE_ACCESS_TOKEN}", "X-API-VERSION": "7"}
REFUSED = (422, {"errors": [{"field": "orderId", "message": NOT_CANCELABLE}]})


def call(
    provider: Superloop,
    body: Any = None,
    *,
    path: str = CANCEL,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    at: float = AT,
) -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else json.dumps({"orderId": 10} if body is None else body).encode()
    url = f"https://360-api.superloop.com{path}"
    answer = provider.handle(HttpRequest(method, url, GOOD if headers is None else headers, raw), at)
    return answer.status, json.loads(answer.body) if answer.body else None


def with_order(**options: Any) -> Superloop:
    provider = Superloop(**options)
    provider.act({"do": "create_order"}, AT)
    provider.emitted()
    return provider


def summary(provider: Superloop, order_id: object = 10) -> dict[str, Any]:
    [found] = provider.act({"do": "list", "order_id": order_id}, AT)["orders"]
    assert isinstance(found, dict)
    return found


def webhooks(provider: Superloop) -> list[tuple[str, dict[str, Any]]]:
    return [(each.headers["z-event-type"], json.loads(each.body)) for each in provider.emitted()]


# -- Cancel an order -----------------------------------------------------------------------------------


def test_a_cancelable_order_is_canceled() -> None:
    provider = with_order()
    answer = provider.handle(HttpRequest("POST", CANCEL, GOOD, b'{"orderId":10}'), AT)
    assert (answer.status, answer.body) == (200, b"")
    assert summary(provider)["status"] == "Cancelled"
    [(event, body)] = webhooks(provider)
    assert (event, body["id"], body["isCancellable"]) == ("order.cancelled.event", 10, False)


def test_canceling_twice_shows() -> None:
    provider = with_order()
    assert call(provider)[0] == 200
    assert call(provider) == REFUSED
    assert (summary(provider)["cancel_calls"], summary(provider)["cancel_effects"]) == (2, 1)


@pytest.mark.parametrize(
    ("in_h", "status"),
    [(48, 200), (26.001, 200), (26, 422), (25.999, 422), (0, 422), (-1, 422), (-26, 422), (-100, 200)],
)
def test_an_active_appointment_within_26_hours_forbids_it(in_h: float, status: int) -> None:
    for action in ("reserve_appointment", "book_appointment"):
        provider = with_order()
        provider.act({"do": action, "order_id": 10, "in_h": in_h}, AT)
        assert call(provider)[0] == status
        assert summary(provider)["cancel_effects"] == (status == 200)


def test_the_clock_is_the_provider_s() -> None:
    provider = with_order()
    provider.act({"do": "book_appointment", "order_id": 10, "starts_at": "2026-03-06T13:00:00+11:00"}, AT)
    closes = (NOW.replace(day=6, hour=2, minute=0, second=0) - timedelta(hours=26)).timestamp()
    assert call(provider, at=closes) == REFUSED
    assert call(provider, at=closes - 0.001)[0] == 200


def test_an_appointment_that_does_not_stand_forbids_nothing() -> None:
    for action in ("complete_appointment", "cancel_appointment"):
        provider = with_order()
        provider.act({"do": "book_appointment", "order_id": 10, "in_h": 1}, AT)
        assert call(provider) == REFUSED
        provider.act({"do": action, "order_id": 10}, AT)
        assert call(provider)[0] == 200


@pytest.mark.parametrize("step", ["proceed", "reject", "complete", "cancel_by_staff"])
def test_an_order_that_is_not_cancelable_is_not_canceled(step: str) -> None:
    provider = with_order()
    provider.act({"do": step, "order_id": 10}, AT)
    assert call(provider) == REFUSED


def test_the_rule_may_be_another() -> None:
    provider = with_order()
    provider.act({"do": "book_appointment", "order_id": 10, "in_h": 20}, AT)
    assert provider.act({"do": "set_rules", "cutoff_h": 19.5}, AT) == {"cutoff_h": 19.5}
    assert call(provider)[0] == 200


def test_404_has_both_meanings() -> None:
    provider = with_order()
    provider.act({"do": "create_order", "order_id": 77, "ours": False}, AT)
    assert call(provider, {"orderId": 77}) == call(provider, {"orderId": 78}) == (404, None)
    assert call(provider, b"", path="/api/connect/orders/77", method="GET") == (404, None)
    assert summary(provider, 77)["cancel_effects"] == 0
    assert summary(provider, 77)["cancel_calls"] == 1


@pytest.mark.parametrize(
    "body", [{}, {"orderId": "10"}, {"orderId": 10.0}, {"orderId": True}, b"orderId=10", b"\xff", [10]]
)
def test_an_order_must_be_a_number(body: Any) -> None:
    provider = with_order()
    assert call(provider, body) == (400, {"message": "orderId must be a number"})
    assert summary(provider)["cancel_effects"] == 0


@pytest.mark.parametrize(
    ("method", "path"), [("GET", CANCEL), ("PUT", CANCEL), ("POST", ORDER), ("GET", "/"), ("GET", f"{ORDER}/x")]
)
def test_there_is_nothing_else(method: str, path: str) -> None:
    assert call(with_order(), path=path, method=method) == (404, None)


@pytest.mark.parametrize("version", [None, "", "0", "9", "x", "7.0", "9" * 5000])
def test_a_version_must_be_one_that_there_is(version: str | None) -> None:
    headers = {"authorization": GOOD["Authorization"]} | ({} if version is None else {"x-api-version": version})
    assert call(with_order(), headers=headers)[0] == 400


@pytest.mark.parametrize("version", range(1, 9))
def test_every_version_works_alike(version: int) -> None:
    assert call(with_order(), headers={**GOOD, "X-API-VERSION": str(version)})[0] == 200


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", f"Basic {EXAMPLE_ACCESS_TOKEN}"])
def test_a_token_must_be_good(given: str | None) -> None:
    headers = {"X-API-VERSION": "7"} | ({} if given is None else {"Authorization": given})
    assert call(with_order(), headers=headers) == (401, None)


@pytest.mark.parametrize("takes_effect", [True, False])
def test_a_crash_may_come_after_the_effect(takes_effect: bool) -> None:
    provider = with_order()
    provider.act({"do": "crash", "takes_effect": takes_effect}, AT)
    assert call(provider)[0] == 500
    assert summary(provider)["cancel_effects"] == int(takes_effect)
    assert call(provider)[0] == (422 if takes_effect else 200)


def test_the_limit_is_a_sliding_window() -> None:
    provider = with_order(requests=2, per_s=10)
    asked = [call(provider, b"", path=ORDER, method="GET", at=AT + each)[0] for each in (0, 5, 9.9, 10, 11, 15)]
    assert asked == [200, 200, 429, 200, 429, 200]
    provider.act({"do": "set_limits", "requests": 9, "per_s": 1}, AT)
    assert call(provider, at=AT + 15)[0] == 200


# -- The order resource --------------------------------------------------------------------------------


def test_an_order_is_read() -> None:
    provider = with_order()
    provider.act({"do": "reserve_appointment", "order_id": 10}, AT)
    status, order = call(provider, b"", path=ORDER, method="GET")
    assert (status, order["id"], order["isCancellable"], order["status"]) == (200, 10, True, "In Progress")
    [reserved] = order["appointments"]
    assert (reserved["status"], reserved["startTime"]) == ("Reserved", None), "no time until it is confirmed"
    provider.act({"do": "book_appointment", "order_id": 10, "in_h": 30}, AT)
    [booked] = call(provider, b"", path=ORDER, method="GET")[1]["appointments"]
    assert (booked["status"], booked["startTime"]) == ("Booked", "2026-03-03T22:04:06Z")


# -- The token endpoint ---------------------------------------------------------------------------------

CLAIMS = {
    "iss": "acme",
    "sub": "acme",
    "aud": "https://sso.example.com/token",
    "jti": "1",
    "iat": int(AT),
    "nbf": int(AT),
    "exp": int(AT) + 60,
}


def exchange(
    provider: Superloop, claims: dict[str, Any] | None = None, *, kid: str | None = "kid", key: int = 0, **form: str
) -> HttpResponse:
    headers = {} if kid is None else {"kid": kid}
    signed = jwt.encode(CLAIMS | (claims or {}), keys(key)[0], algorithm="RS256", headers=headers)
    fields = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": signed,
        **form,
    }
    return provider.handle(HttpRequest("POST", "/token", {}, urlencode(fields).encode()), AT)


def strict() -> Superloop:
    return Superloop(client_id="acme", key_id="kid", public_key=keys()[1], audience="https://sso.example.com/token")


def test_an_assertion_gives_a_token_that_expires() -> None:
    provider = with_order(public_key=keys()[1], token_life_s=100)
    answer = json.loads(exchange(provider).body)
    assert (answer["expires_in"], answer["token_type"]) == (100, "Bearer")
    headers = {**GOOD, "Authorization": f"Bearer {answer['access_token']}"}
    asked: dict[str, Any] = {"path": ORDER, "method": "GET", "headers": headers}
    assert call(provider, b"", at=AT + 99.9, **asked)[0] == 200
    assert call(provider, b"", at=AT + 100, **asked)[0] == 401
    provider.act({"do": "expire_tokens"}, AT)
    assert call(provider, b"", at=AT, **asked)[0] == 401


def test_an_assertion_is_good_for_one_use() -> None:
    provider = strict()
    assert exchange(provider).status == 200
    again = exchange(provider)
    assert again.status == 401
    assert json.loads(again.body)["error"] == "invalid_client"
    assert exchange(provider, {"jti": "2"}).status == 200


@pytest.mark.parametrize(
    ("claims", "more", "says"),
    [
        ({}, {"key": 1}, "signature"),
        ({}, {"kid": "other"}, "kid"),
        ({}, {"kid": None}, "kid"),
        ({"iss": "other"}, {}, "iss and sub"),
        ({"iss": "other", "sub": "other"}, {}, "iss and sub"),
        ({"aud": "https://elsewhere.example.com/token"}, {}, "aud"),
        ({"exp": int(AT)}, {}, "expired"),
        ({"nbf": int(AT) + 1}, {}, "not valid yet"),
        ({"iat": int(AT) + 1}, {}, "not valid yet"),
        ({"jti": ""}, {}, "jti"),
        ({"exp": "soon"}, {}, "cannot be read|numbers"),
        ({}, {"client_assertion": "x.y.z"}, "cannot be read"),
        ({}, {"client_assertion": ""}, "cannot be read"),
    ],
)
def test_a_bad_assertion_gives_none(claims: dict[str, Any], more: dict[str, Any], says: str) -> None:
    answer = exchange(strict(), claims, **more)
    shown = json.loads(answer.body)
    assert (answer.status, shown["error"]) == (401, "invalid_client")
    assert any(each in shown["error_description"] for each in says.split("|"))


@pytest.mark.parametrize("field", ["grant_type", "client_assertion_type"])
def test_a_form_must_be_complete(field: str) -> None:
    given: dict[str, Any] = {field: "x"}
    answer = exchange(strict(), **given)
    assert answer.status == 400
    assert field in json.loads(answer.body)["error_description"]


def test_by_default_any_well_formed_assertion_will_do() -> None:
    provider = Superloop()
    assert exchange(provider, key=1, kid="any").status == 200
    assert exchange(provider, {"jti": "2", "aud": "http://127.0.0.1:8701/superloop/token"}).status == 200
    assert exchange(provider, {"jti": "3", "aud": "http://127.0.0.1:8701/"}).status == 401
    assert provider.act({"do": "set_public_key", "public_key": keys()[1]}, AT) == {"checked": True}
    assert exchange(provider, {"jti": "4"}, key=1).status == 401
    assert exchange(provider, {"jti": "4"}).status == 200


# -- The provider's side ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("action", "verb", "status"), [(each, *rest) for each, rest in ORDER_STEPS.items()])
def test_a_step_of_an_order_sends_its_event(action: str, verb: str, status: str) -> None:
    provider = with_order()
    provider.act({"do": action, "order_id": "10"}, AT)
    assert summary(provider)["status"] == status
    [webhook] = provider.emitted()
    assert {name: webhook.headers[name] for name in webhook.headers if name.startswith("z-")} == {
        "z-event-type": f"order.{verb}.event",
        "z-notification-type": f"order.{verb}.notification",
        "z-notification-model": "order",
    }
    body = json.loads(webhook.body)
    documented = {"id", "type", "customerRef", "locId", "rejectedReason", "rejectedOn", "serviceId", "isCancellable"}
    assert set(body) == documented
    assert (body["rejectedOn"] is not None) == (action == "reject")
    assert body["isCancellable"] == (action == "reject")


@pytest.mark.parametrize(("action", "verb", "status"), [(each, *rest) for each, rest in APPOINTMENT_STEPS.items()])
def test_a_step_of_an_appointment_sends_its_event(action: str, verb: str, status: str) -> None:
    provider = with_order()
    provider.act({"do": "reserve_appointment", "order_id": 10, "silent": True}, AT)
    provider.act({"do": action, "order_id": 10}, AT)
    [(event, body)] = webhooks(provider)
    assert (event, body["status"]) == (f"appointment.{verb}.event", status)
    assert (body["orderId"], body["id"], body["nbnAppointmentId"]) == (10, 583, "APT000000000583")
    assert (body["startTime"], body["timezoneOffset"]) == ("2026-03-04T16:04:06Z", "+11:00")
    assert (body["cancelledOn"] is not None) == (action == "cancel_appointment")


@pytest.mark.parametrize(
    ("times", "start"),
    [("utc", "2026-03-06T02:00:00Z"), ("offset", "2026-03-06T13:00:00+11:00"), ("local", "2026-03-06T13:00:00")],
)
def test_times_are_written_as_wanted(times: str, start: str) -> None:
    provider = with_order()
    provider.act({"do": "set_times", "times": times}, AT)
    provider.act({"do": "book_appointment", "order_id": 10, "starts_at": "2026-03-06T02:00:00Z"}, AT)
    assert [body["startTime"] for _, body in webhooks(provider)] == [start]


def test_services_send_events_too() -> None:
    provider = with_order()
    provider.act({"do": "modify_service", "order_id": 10}, AT)
    assert [event for event, _ in webhooks(provider)] == ["service.modified.event"]


def test_what_is_silent_sends_nothing_and_cancels_may_be_silent() -> None:
    provider = with_order(tells_of_cancels=False)
    provider.act({"do": "reject", "order_id": 10, "silent": True}, AT)
    provider.act({"do": "create_order", "order_id": 11, "silent": True}, AT)
    assert call(provider, {"orderId": 11})[0] == 200
    assert provider.emitted() == []


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ({}, "cannot do ''"),
        ({"do": "fly"}, "create_order"),
        ({"do": "create_order", "order_id": 10}, "there already"),
        ({"do": "create_order", "order_id": "x"}, "no number"),
        ({"do": "create_order", "order_id": "9" * 5000}, "no number"),
        ({"do": "create_order", "colour": 1}, "takes no colour"),
        ({"do": "reject"}, "no order"),
        ({"do": "reject", "order_id": 11}, "no order"),
        ({"do": "cancel_appointment", "order_id": 10}, "no active appointment"),
        ({"do": "book_appointment", "order_id": 10, "appointment_id": [1]}, "no number"),
        ({"do": "book_appointment", "order_id": 10, "starts_at": "soon"}, "isoformat"),
        ({"do": "book_appointment", "order_id": 10, "starts_at": "2026-03-06T02:00:00"}, "offset"),
        ({"do": "book_appointment", "order_id": 10, "in_h": 1e300}, "cannot read"),
        ({"do": "set_rules", "cutoff_h": "x"}, "float"),
        ({"do": "set_times", "times": "metric"}, "utc, offset, local"),
        ({"do": "set_times", "timezone": "Mars"}, "IANA"),
        ({"do": "set_limits", "requests": 0}, "1 or more"),
        ({"do": "set_limits", "per_s": []}, "cannot read"),
        ({"do": "set_public_key", "public_key": "x"}, "PEM"),
        ({"do": "crash", "times": "x"}, "invalid literal"),
        ({"do": "list", "order_id": 11}, "no order"),
    ],
)
def test_what_cannot_be_done_is_explained_and_changes_nothing(action: dict[str, Any], says: str) -> None:
    provider = with_order()
    before = provider.act({"do": "list"}, AT)
    with pytest.raises(ValueError, match=says):
        provider.act(action, AT)
    assert provider.act({"do": "list"}, AT) == before
    assert provider.emitted() == []


@pytest.mark.parametrize("end", ["reject", "complete", "cancel_by_staff"])
def test_nothing_becomes_of_an_order_that_has_ended(end: str) -> None:
    provider = with_order()
    provider.act({"do": "book_appointment", "order_id": 10}, AT)
    provider.act({"do": end, "order_id": 10}, AT)
    assert not any(each["status"] in ("Booked", "Reserved") for each in summary(provider)["appointments"])
    for action in (*ORDER_STEPS, *APPOINTMENT_STEPS, "reserve_appointment"):
        with pytest.raises(ValueError, match="nothing more becomes of it"):
            provider.act({"do": action, "order_id": 10}, AT)
