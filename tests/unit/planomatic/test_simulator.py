from __future__ import annotations

import json
from typing import Any

import pytest

from app.contract import HttpRequest, HttpResponse
from handlers.planomatic.simulator import DOCUMENTED_API_KEY, NOT_CANCELABLE, NOTES_LENGTH, STEPS, PlanOmatic

CANCEL, RETRIEVE = "/api/v3/orders/cancel", "/api/v3/orders/retrieve"
NOW = 1_772_467_445.0
GOOD = {
    "api_key": DOCUMENTED_API_KEY,
    "order_id": "654321",
    "cancelation_reason": "duplicate_order",
    "notes": "We accidentally sent a duplicate order.",
}


def call(provider: PlanOmatic, body: Any, path: str = CANCEL, now: float = NOW) -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = provider.handle(HttpRequest("POST", f"https://api.planomatic.com{path}", {}, raw), now)
    assert answer.headers["content-type"] == "application/json"
    return answer.status, json.loads(answer.body)


def provider_with_order(**options: Any) -> PlanOmatic:
    provider = PlanOmatic(**options)
    provider.act({"do": "create_order"}, NOW)
    provider.emitted()
    return provider


def summary(provider: PlanOmatic, order_id: object = 654321) -> dict[str, Any]:
    [found] = provider.act({"do": "list", "order_id": order_id}, NOW)["orders"]
    assert isinstance(found, dict)
    return found


def webhooks(provider: PlanOmatic) -> list[dict[str, Any]]:
    return [json.loads(each.body) for each in provider.emitted()]


def invalid(*errors: tuple[str, str]) -> tuple[int, Any]:
    shown = [{"attr": attr, "message": message} for attr, message in errors]
    return 400, {"code": 400, "status": "validation-error", "errors": shown}


# -- Cancel Order ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["new_request", "ordered", "scheduling"])
@pytest.mark.parametrize("reason", ["duplicate_order", "client_requested_cancelation"])
def test_an_order_is_canceled_in_a_cancelable_status(status: str, reason: str) -> None:
    provider = PlanOmatic()
    provider.act({"do": "create_order", "status": status}, NOW)
    provider.emitted()
    code, answer = call(provider, {**GOOD, "cancelation_reason": reason})
    assert (code, answer["code"], answer["order"]["status"]) == (200, 200, "canceled")
    assert summary(provider)["status"] == "canceled"
    [webhook] = webhooks(provider)
    assert (webhook["event"], webhook["order_id"], webhook["status"]) == ("order.canceled", 654321, "canceled")


@pytest.mark.parametrize("status", ["scheduled", "assembly", "completed", "hold", "canceled", "anything else"])
def test_an_order_is_not_canceled_in_any_other_status(status: str) -> None:
    provider = PlanOmatic()
    provider.act({"do": "create_order", "status": status}, NOW)
    assert call(provider, GOOD) == invalid(("order_id", NOT_CANCELABLE))
    assert summary(provider)["status"] == status
    assert webhooks(provider) == []


def test_an_order_with_a_confirmed_appointment_is_not_canceled_whatever_its_status() -> None:
    provider = provider_with_order()
    provider.act({"do": "schedule_appointment", "order_id": 654321, "status": "scheduling"}, NOW)
    assert call(provider, GOOD) == invalid(("order_id", NOT_CANCELABLE))
    provider.act({"do": "await_reschedule", "order_id": 654321}, NOW)
    assert call(provider, GOOD)[0] == 200


def test_canceling_twice_shows() -> None:
    provider = provider_with_order()
    assert call(provider, GOOD)[0] == 200
    assert call(provider, GOOD) == invalid(("order_id", NOT_CANCELABLE))
    shown = summary(provider)
    assert (shown["cancel_calls"], shown["cancel_effects"]) == (2, 1)
    assert shown["canceled_at"].startswith("2026-03-02T16:04:05")
    assert len(webhooks(provider)) == 1


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key not in keys}


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (without("api_key"), [("api_key", "missing")]),
        ({**GOOD, "api_key": None}, [("api_key", "missing")]),
        ({**GOOD, "api_key": ""}, [("api_key", "empty")]),
        ({**GOOD, "api_key": "wrong"}, [("api_key", "unauthorized")]),
        ({**GOOD, "api_key": [1]}, [("api_key", "unauthorized")]),
        (without("order_id"), [("order_id", "missing")]),
        ({**GOOD, "order_id": ""}, [("order_id", "empty")]),
        ({**GOOD, "order_id": "1"}, [("order_id", "unrecognized")]),
        ({**GOOD, "order_id": 654321.0}, [("order_id", "unrecognized")]),
        ({**GOOD, "order_id": True}, [("order_id", "unrecognized")]),
        ({**GOOD, "order_id": "of-another"}, [("order_id", "unauthorized")]),
        ({**GOOD, "request_id": ""}, [("request_id", "empty")]),
        ({**GOOD, "request_id": 654321}, [("request_id", "unrecognized")]),
        (without("cancelation_reason"), [("cancelation_reason", "missing")]),
        ({**GOOD, "cancelation_reason": ""}, [("cancelation_reason", "empty")]),
        ({**GOOD, "cancelation_reason": "changed_my_mind"}, [("cancelation_reason", "unrecognized")]),
        ({**GOOD, "cancelation_reason": 7}, [("cancelation_reason", "unrecognized")]),
        (without("notes"), [("notes", "missing")]),
        ({**GOOD, "notes": ""}, [("notes", "empty")]),
        ({**GOOD, "notes": "x" * 256}, [("notes", NOTES_LENGTH)]),
        (without("order_id", "notes"), [("order_id", "missing"), ("notes", "missing")]),
        ({"api_key": DOCUMENTED_API_KEY}, [(attr, "missing") for attr in ("order_id", "cancelation_reason", "notes")]),
        (b"order_id=654321", [("api_key", "missing")]),
        (b"[1]", [("api_key", "missing")]),
        (b"[" * 100_000, [("api_key", "missing")]),
        (b"\xff", [("api_key", "missing")]),
    ],
)
def test_validation_errors(body: Any, errors: list[tuple[str, str]]) -> None:
    provider = provider_with_order(api_keys=(DOCUMENTED_API_KEY, "another"))
    provider.act({"do": "create_order", "order_id": "of-another", "api_key": "another"}, NOW)
    provider.emitted()
    assert call(provider, body) == invalid(*errors)
    assert summary(provider)["cancel_effects"] == 0
    assert provider.emitted() == []


@pytest.mark.parametrize("notes", ["x", "x" * 255])
def test_notes_of_1_to_255_characters_are_taken(notes: str) -> None:
    assert call(provider_with_order(), {**GOOD, "notes": notes})[0] == 200


@pytest.mark.parametrize(
    "names",
    [
        {"order_id": 654321},
        {"order_id": "654321"},
        {"request_id": 133704},
        {"request_id": "133704"},
        {"request_id": 133704, "order_id": 1},
        {"request_id": None, "order_id": 654321},
    ],
)
def test_an_order_is_named_by_either_id_and_request_id_takes_precedence(names: dict[str, Any]) -> None:
    provider = provider_with_order()
    provider.act({"do": "create_order", "order_id": 1}, NOW)
    assert call(provider, {**without("order_id"), **names})[0] == 200
    assert summary(provider)["status"] == "canceled"
    assert summary(provider, 1)["status"] == "ordered"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", CANCEL), ("PUT", CANCEL), ("POST", "/api/v3/orders"), ("POST", "/")]
)
def test_there_is_nothing_else(method: str, path: str) -> None:
    answer = provider_with_order().handle(HttpRequest(method, path, {}, json.dumps(GOOD).encode()), NOW)
    assert answer.status == 404


# -- Retrieve Order --------------------------------------------------------------------------


def test_an_order_is_retrieved() -> None:
    provider = provider_with_order()
    code, answer = call(provider, {"api_key": DOCUMENTED_API_KEY, "order_id": 654321}, RETRIEVE)
    assert (code, answer["code"]) == (200, 200)
    assert answer["order"]["status"] == "ordered"
    assert answer["order"]["appointments"] == []
    assert provider.emitted() == []
    assert call(provider, {"api_key": DOCUMENTED_API_KEY}, RETRIEVE) == invalid(("order_id", "missing"))
    assert call(provider, {"api_key": "x", "order_id": 654321}, RETRIEVE) == invalid(("api_key", "unauthorized"))


def test_an_id_is_resolved_against_the_legacy_id_second() -> None:
    provider = PlanOmatic(api_keys=("mine", "theirs"))
    provider.act({"do": "create_order", "order_id": 1, "api_key": "theirs"}, NOW)
    provider.act({"do": "create_order", "order_id": 2, "legacy_order_id": 1, "api_key": "mine"}, NOW)
    assert call(provider, {"api_key": "mine", "order_id": 1}, RETRIEVE)[1]["order"]["order_id"] == 2
    assert call(provider, {"api_key": "theirs", "order_id": 1}, RETRIEVE)[1]["order"]["order_id"] == 1


# -- Limits and crashes ----------------------------------------------------------------------


def test_the_limit_is_100_calls_in_any_60_seconds() -> None:
    provider = provider_with_order()
    ask = {"api_key": DOCUMENTED_API_KEY, "order_id": 654321}
    codes = [call(provider, ask, RETRIEVE, NOW + number * 0.5)[0] for number in range(110)]
    assert codes == [200] * 100 + [429] * 10
    assert call(provider, ask, RETRIEVE, NOW + 59.9)[0] == 429
    assert call(provider, ask, RETRIEVE, NOW + 60)[0] == 200
    assert call(provider, ask, RETRIEVE, NOW + 60.1)[0] == 429
    assert call(provider, ask, RETRIEVE, NOW + 60.5)[0] == 200


def test_beyond_the_limit_nothing_happens() -> None:
    provider = provider_with_order(requests=1, per_s=10)
    assert call(provider, {**GOOD, "notes": ""})[0] == 400
    assert call(provider, GOOD) == (429, {"code": 429, "status": "rate-limit-exceeded"})
    assert summary(provider)["status"] == "ordered"
    assert call(provider, GOOD, now=NOW + 10)[0] == 200


def test_each_key_has_its_own_limit() -> None:
    provider = provider_with_order(requests=1, api_keys=(DOCUMENTED_API_KEY, "another"))
    assert [call(provider, {"api_key": key})[0] for key in ("another", "another", "wrong", "wronger")] == [
        400,
        429,
        400,
        429,
    ]
    assert call(provider, GOOD)[0] == 200


def test_the_limit_is_admin_managed() -> None:
    provider = provider_with_order(requests=1)
    assert call(provider, GOOD)[0] == 200
    assert call(provider, GOOD)[0] == 429
    assert provider.act({"do": "set_limits", "requests": 3, "per_s": 1}, NOW) == {"requests": 3, "per_s": 1.0}
    assert [call(provider, GOOD, now=NOW + 0.5)[0] for _ in range(3)] == [400, 400, 429]
    assert call(provider, GOOD, now=NOW + 1.5)[0] == 400


@pytest.mark.parametrize(("told", "headers"), [(True, {"retry-after": "46"}), (False, {})])
def test_a_429_says_when_to_come_again_only_if_wanted(told: bool, headers: dict[str, str]) -> None:
    provider = provider_with_order(requests=1, retry_after=told)
    request = HttpRequest("POST", CANCEL, {}, json.dumps(GOOD).encode())
    provider.handle(request, NOW)
    answer: HttpResponse = provider.handle(request, NOW + 15)
    assert {name: value for name, value in answer.headers.items() if name != "content-type"} == headers


@pytest.mark.parametrize("takes_effect", [True, False])
def test_a_crash_may_come_after_the_effect(takes_effect: bool) -> None:
    provider = provider_with_order()
    provider.act({"do": "crash", "times": 1, "takes_effect": takes_effect}, NOW)
    assert call(provider, GOOD) == (500, {"code": 500, "status": "application-crash"})
    assert summary(provider)["cancel_effects"] == int(takes_effect)
    assert call(provider, GOOD)[0] == (400 if takes_effect else 200)


# -- The provider's side ---------------------------------------------------------------------


@pytest.mark.parametrize(("action", "event", "status"), [(action, *rest) for action, rest in STEPS.items()])
def test_a_step_changes_the_status_and_sends_its_event(action: str, event: str, status: str) -> None:
    provider = provider_with_order()
    shown = provider.act({"do": action, "order_id": 654321}, NOW + 0.25)
    assert (shown["order_id"], shown["status"]) == (654321, status)
    [webhook] = webhooks(provider)
    assert (webhook["event"], webhook["status"]) == (event, status)
    assert webhook["occurred_at"] == "2026-03-02T16:04:05.250000+00:00"
    assert (webhook["order_id"], webhook["request_id"]) == (654321, 133704)
    assert {"external_property_id", "billing_entity_slug", "property", "services", "metadata"} <= set(webhook)


def test_a_webhook_carries_no_signature() -> None:
    provider = PlanOmatic()
    provider.act({"do": "create_order"}, NOW)
    [webhook] = provider.emitted()
    assert (webhook.method, webhook.url) == ("POST", "")
    assert set(webhook.headers) == {"Content-Type", "User-Agent"}


def test_an_appointment_is_scheduled_called_off_and_scheduled_again() -> None:
    provider = provider_with_order()
    one = {"order_id": 654321, "starts_at": "2026-03-04T16:00:00Z", "minutes": 30}
    provider.act({"do": "schedule_appointment", **one}, NOW)
    provider.act({"do": "await_reschedule", "order_id": 654321}, NOW)
    provider.act({"do": "schedule_appointment", "order_id": 654321}, NOW)
    provider.act({"do": "schedule_appointment", "order_id": 654321}, NOW)
    seen = [[each["cancellation_reason"] for each in webhook["appointments"]] for webhook in webhooks(provider)]
    assert seen == [[None], ["reschedule"], ["reschedule", None], ["reschedule", "rescheduled", None]]
    first, second, _ = summary(provider)["appointments"]
    assert first["start_datetime"] == "2026-03-04T16:00:00.000000+00:00"
    assert (first["end_datetime"], first["duration"]) == ("2026-03-04T16:30:00.000000+00:00", 0.5)
    assert second["start_datetime"].startswith("2026-03-04T16:04:05")


def test_webhooks_can_be_of_the_second_version_or_both() -> None:
    provider = PlanOmatic(webhooks=("v3", "v2"))
    provider.act({"do": "create_order", "external_order_id": "e-1"}, NOW)
    provider.act({"do": "schedule_appointment", "order_id": 654321}, NOW)
    provider.act({"do": "unable_to_complete", "order_id": 654321, "status": "on the moon"}, NOW)
    third, second, *rest = webhooks(provider)
    assert third["event"] == "order.processed"
    assert (second["order_status"], second["external_id"]) == ("ordered", "e-1")
    assert "event" not in second
    # V2 tells of some statuses only.
    assert [each.get("event", each.get("order_status")) for each in rest] == [
        "appointment.scheduled",
        "scheduled",
        "appointment.unable_to_complete",
    ]


def test_what_is_silent_sends_nothing() -> None:
    provider = PlanOmatic()
    provider.act({"do": "create_order", "silent": True}, NOW)
    provider.act({"do": "deliver", "order_id": 654321, "silent": True}, NOW)
    provider.act({"do": "create_order", "status": "new_request"}, NOW)
    assert provider.emitted() == []
    assert [each["status"] for each in provider.act({"do": "list"}, NOW)["orders"]] == ["delivered", "new_request"]


def test_orders_take_the_ids_and_details_they_are_given() -> None:
    provider = PlanOmatic()
    provider.act({"do": "create_order", "order_id": "o-1", "request_id": "r-1", "metadata": {"a": "b"}}, NOW)
    [webhook] = webhooks(provider)
    assert (webhook["order_id"], webhook["request_id"], webhook["metadata"]) == ("o-1", "r-1", {"a": "b"})
    assert provider.act({"do": "process", "request_id": "r-1"}, NOW)["order_id"] == "o-1"


def test_the_rules_and_keys_are_admin_managed() -> None:
    provider = provider_with_order()
    provider.act({"do": "set_rules", "cancelable_statuses": ["hold"], "cancelation_reasons": ["weather"]}, NOW)
    assert call(provider, GOOD) == invalid(("cancelation_reason", "unrecognized"))
    assert call(provider, {**GOOD, "cancelation_reason": "weather"}) == invalid(("order_id", NOT_CANCELABLE))
    provider.act({"do": "unable_to_complete", "order_id": 654321}, NOW)
    assert call(provider, {**GOOD, "cancelation_reason": "weather"})[0] == 200
    provider.act({"do": "set_api_keys", "api_keys": ["new"]}, NOW)
    assert call(provider, GOOD) == invalid(("api_key", "unauthorized"))


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ({}, "cannot do ''"),
        ({"do": "fly"}, "create_order"),
        ({"do": ["x"]}, "cannot do"),
        ({"do": "create_order", "order_id": 654321}, "there already"),
        ({"do": "create_order", "request_id": "133704"}, "there already"),
        ({"do": "create_order", "colour": 1}, "takes no colour"),
        ({"do": "deliver"}, "no order"),
        ({"do": "deliver", "order_id": 1}, "no order"),
        ({"do": "list", "order_id": 1}, "no order"),
        ({"do": "schedule_appointment", "order_id": 654321, "starts_at": "soon"}, "isoformat"),
        ({"do": "schedule_appointment", "order_id": 654321, "starts_at": "2026-03-04T16:00:00"}, "offset"),
        ({"do": "schedule_appointment", "order_id": 654321, "minutes": "x"}, "float"),
        ({"do": "schedule_appointment", "order_id": 654321, "minutes": None}, "cannot read"),
        ({"do": "schedule_appointment", "order_id": 654321, "minutes": 1e300}, "cannot read"),
        ({"do": "set_limits", "requests": 0}, "1 or more"),
        ({"do": "set_limits", "per_s": 0}, "above 0"),
        ({"do": "set_limits", "requests": []}, "cannot read"),
        ({"do": "set_rules", "cancelable_statuses": "ordered"}, "list of strings"),
        ({"do": "set_api_keys", "api_keys": []}, "at least one"),
        ({"do": "crash", "times": "x"}, "invalid literal"),
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
    provider.act({"do": "cancel_by_staff", "order_id": 654321}, NOW)
    assert summary(provider)["canceled_at"] is not None
    for action in STEPS:
        with pytest.raises(ValueError, match="is canceled"):
            provider.act({"do": action, "order_id": 654321}, NOW)


def test_a_simulator_that_is_started_anew_gives_no_order_the_request_of_another() -> None:
    def requests(*orders: int) -> list[int]:
        provider = PlanOmatic()
        return [provider.act({"do": "create_order", "order_id": order}, NOW)["request_id"] for order in orders]

    before, after = requests(4711, 4712), requests(5001, 4712)
    assert after[1] == before[1]
    assert after[0] not in before
