from __future__ import annotations

import json
from typing import Any

import pytest
from contract.handler_cases import drive
from unit.superloop.support import CONFIG, FIXED, NOW, at

from app.contract import (
    CancelOutcome,
    CancelRequest,
    CancelResult,
    Facts,
    HttpRequest,
    HttpResponse,
    Order,
    Phase,
    ProbeUnavailable,
)
from handlers.superloop.cancel import cancel, numeric_id, probe
from handlers.superloop.config import Config

OK = HttpResponse(200, {})


def ask(order: Order, answer: HttpResponse = OK, config: Config = CONFIG) -> tuple[CancelResult, HttpRequest]:
    [result], [request] = drive(cancel([CancelRequest(order, "why", "note")], config, at(NOW)), [answer])
    return result, request


def look(order: Order, body: Any, config: Config = CONFIG) -> tuple[Facts | ProbeUnavailable, HttpRequest]:
    response = HttpResponse(200, {}, json.dumps(body).encode())
    [result], [request] = drive(probe([order], config, at(NOW)), [response])
    return result, request


def test_the_cancel_is_the_documented_one() -> None:
    _, request = ask(Order("a", "10"))
    assert (request.method, request.url) == ("POST", "https://360-api.superloop.com/api/connect/orders/cancel")
    assert request.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert request.headers["Authorization"] == f"Bearer {FIXED}"
    assert request.headers["X-API-VERSION"] == "7"
    assert request.body == b'{"orderId":10}'
    assert not request.repeatable


def test_the_account_says_where_and_how_long() -> None:
    given = {
        "access_token": "t",
        "base_url": "http://127.0.0.1:1/superloop/",
        "timeout_s": 3,
        "order_path": "/o/{id}/x",
    }
    config = Config.model_validate(given)
    _, request = ask(Order("a", "1"), config=config)
    assert (request.url, request.timeout_s) == ("http://127.0.0.1:1/superloop/api/connect/orders/cancel", 3)
    _, request = look(Order("a", "1"), {"id": 1, "isCancellable": True}, config)
    assert (request.method, request.url, request.body) == ("GET", "http://127.0.0.1:1/superloop/o/1/x", b"")
    assert request.repeatable


@pytest.mark.parametrize(
    ("order", "id"),
    [
        (Order("a", "10"), 10),
        (Order("a", "0"), 0),
        (Order("a", "CUST-1", aliases=("x", "11")), 11),
        (Order("a", "9" * 18), 10**18 - 1),
        (Order("a", "9" * 19), None),
        (Order("a", "007"), None),
        (Order("a", "-1"), None),
        (Order("a", "1.0"), None),
        (Order("a", "1e3"), None),
        (Order("a", "٣"), None),
        (Order("a", " 1"), None),
        (Order("a", "CUST-1"), None),
    ],
)
def test_an_order_that_has_no_number_is_not_sent_in_vain(order: Order, id: int | None) -> None:
    assert numeric_id(order) == id
    if id is not None:
        assert json.loads(ask(order)[1].body) == {"orderId": id}
        return
    [result], asked = drive(cancel([CancelRequest(order, "why")], CONFIG, at(NOW)), [])
    assert (result.outcome, asked) == (CancelOutcome.REFUSED, [])
    assert "nothing was sent" in result.detail
    [found], asked = drive(probe([order], CONFIG, at(NOW)), [])
    assert isinstance(found, ProbeUnavailable)
    assert (found.outcome, asked) == (CancelOutcome.REFUSED, [])


def test_several_orders_are_several_calls() -> None:
    orders = [Order("a", "1"), Order("a", "x"), Order("a", "2")]
    answers = [OK, HttpResponse(404, {})]
    results, asked = drive(cancel([CancelRequest(each, "why") for each in orders], CONFIG, at(NOW)), answers)
    assert [each.outcome for each in results] == ["succeeded", "refused", "refused"]
    assert [json.loads(each.body)["orderId"] for each in asked] == [1, 2]


# -- The answers; tests/contract has one of each kind -----------------------------------------------


def test_every_status_has_a_meaning() -> None:
    for status in range(200, 600):
        result, _ = ask(Order("a", "1"), HttpResponse(status, {}))
        assert (result.outcome is CancelOutcome.SUCCEEDED) == (200 <= status < 300 and status != 202)
        assert (result.outcome is CancelOutcome.ACCEPTED) == (status == 202)
        assert result.may_have_applied == (status in (500, 503))
        if status >= 500:
            assert result.outcome in (CancelOutcome.RETRY, CancelOutcome.INDETERMINATE)
            assert result.may_have_applied or result.outcome is CancelOutcome.INDETERMINATE, "it may have taken effect"
        assert result.detail.endswith(".")
        [found], _ = drive(probe([Order("a", "1")], CONFIG, at(NOW)), [HttpResponse(status, {})])
        assert isinstance(found, ProbeUnavailable)
        assert (found.outcome is CancelOutcome.INDETERMINATE) == (status == 404)


def test_a_404_says_both_of_its_meanings() -> None:
    result, _ = ask(Order("a", "1"), HttpResponse(404, {}))
    assert "no such order" in result.detail
    assert "not authorized" in result.detail


@pytest.mark.parametrize(
    "body", [{"errors": None}, {"errors": 5}, {"errors": [1, None, [], {"message": 5}]}, {"message": []}, [], None, "x"]
)
def test_errors_in_any_shape_are_read(body: Any) -> None:
    result, _ = ask(Order("a", "1"), HttpResponse(422, {}, json.dumps(body).encode()))
    assert (result.outcome, result.detail) == (CancelOutcome.REFUSED, "Superloop answered 422.")


def test_a_detail_is_one_short_line_without_the_token() -> None:
    said = f"bad\n\0{'x' * 280}{FIXED}{'y' * 5000}"
    body = {"error": FIXED, "message": said, "errors": [{"field": "orderId", "message": said}]}
    detail = ask(Order("a", "1"), HttpResponse(400, {}, json.dumps(body).encode()))[0].detail
    assert detail.isprintable()
    assert len(detail) < 400
    assert FIXED[:8] not in detail


# -- The probe ------------------------------------------------------------------------------------


def test_an_account_that_cannot_be_asked_says_how_to_mend_it() -> None:
    config = Config.model_validate({"access_token": "t", "order_path": ""})
    [found], asked = drive(probe([Order("a", "1")], config, at(NOW)), [])
    assert isinstance(found, ProbeUnavailable)
    assert (found.outcome, asked) == (CancelOutcome.INDETERMINATE, [])
    assert "order_path" in str(found)


def test_an_order_is_known_by_any_of_its_names() -> None:
    order = Order("a", "x", aliases=("7",))
    found, _ = look(order, {"id": 7, "isCancellable": True})
    assert isinstance(found, Facts)
    found, _ = look(order, {"id": 8, "isCancellable": True})
    assert isinstance(found, ProbeUnavailable)
    found, _ = look(order, {"isCancellable": True})
    assert isinstance(found, Facts), "it was asked for by its number"


def test_appointments_that_the_answer_does_not_speak_of_are_not_forgotten() -> None:
    silent, _ = look(Order("a", "7"), {"id": 7, "isCancellable": True})
    none, _ = look(Order("a", "7"), {"id": 7, "isCancellable": True, "appointments": []})
    assert isinstance(silent, Facts)
    assert isinstance(none, Facts)
    assert (silent.appointments_complete, none.appointments_complete) == (False, True)
    assert silent.snapshot
    assert none.snapshot


def test_appointments_may_stand_elsewhere() -> None:
    config = Config.model_validate({"access_token": "t", "appointment_keys": ["nbn.visits"]})
    visits = [{"status": "Booked"}, {"status": "cancelled"}, "x", None]
    found, _ = look(Order("a", "7"), {"id": 7, "isCancellable": True, "nbn": {"visits": visits}}, config)
    assert isinstance(found, Facts)
    assert [(each.id, each.status) for each in found.appointments] == [
        ("appointment", "Booked"),
        ("appointment#1", "cancelled"),
    ]
    found, _ = look(Order("a", "7"), {"id": 7, "isCancellable": True, "nbn": None}, config)
    assert isinstance(found, Facts)
    assert not found.appointments_complete


def test_an_order_is_unwrapped() -> None:
    for wrapper in ("order", "data"):
        found, _ = look(Order("a", "7"), {wrapper: {"id": 7, "isCancellable": False}})
        assert isinstance(found, Facts)
        assert found.phase is Phase.IN_PROGRESS
