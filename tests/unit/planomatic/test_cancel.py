from __future__ import annotations

import json
from typing import Any

import pytest
from contract.handler_cases import context, drive

from app.contract import (
    CancelOutcome,
    CancelRequest,
    CancelResult,
    Facts,
    HttpRequest,
    HttpResponse,
    Order,
    ProbeUnavailable,
)
from app.kit.responses import WAIT_MAX_S, retry_after_s
from handlers.planomatic.cancel import cancel, probe
from handlers.planomatic.config import Config
from handlers.planomatic.responses import read

KEY = "y0Ur-AP1-k3y"
CONFIG = Config.model_validate({"api_key": KEY})
OK = HttpResponse(200, {}, b'{"code":200}')


def ask(order: Order, config: Config = CONFIG, answer: HttpResponse = OK) -> tuple[CancelResult, HttpRequest]:
    cancel_request = CancelRequest(order, "duplicate_order", "We accidentally sent a duplicate order.")
    [result], [request] = drive(cancel([cancel_request], config, context()), [answer])
    return result, request


def look(order: Order, answer: Any = None) -> tuple[Facts | ProbeUnavailable, HttpRequest]:
    response = HttpResponse(200, {}, json.dumps(answer or {}).encode())
    [result], [request] = drive(probe([order], CONFIG, context()), [response])
    return result, request


def test_the_cancel_is_the_documented_one() -> None:
    _, request = ask(Order("a", "654321"))
    assert (request.method, request.url) == ("POST", "https://api.planomatic.com/api/v3/orders/cancel")
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body) == {
        "api_key": KEY,
        "order_id": "654321",
        "cancelation_reason": "duplicate_order",
        "notes": "We accidentally sent a duplicate order.",
    }
    assert not request.repeatable


def test_the_account_says_where_and_how_long() -> None:
    config = Config.model_validate({"api_key": "k", "base_url": "http://127.0.0.1:1/planomatic/", "timeout_s": 3})
    _, request = ask(Order("a", "1"), config)
    assert (request.url, request.timeout_s) == ("http://127.0.0.1:1/planomatic/api/v3/orders/cancel", 3)


@pytest.mark.parametrize(("id", "key"), [("request:7", "request_id"), ("7", "order_id")])
def test_an_order_known_by_its_request_is_named_so(id: str, key: str) -> None:
    order = Order("a", id, attributes={"request_id": 7})
    sent = json.loads(ask(order)[1].body)
    assert {name: sent[name] for name in ("order_id", "request_id") if name in sent} == {key: "7"}
    asked = json.loads(look(order)[1].body)
    assert {name: asked[name] for name in ("order_id", "request_id") if name in asked} == {key: 7}


@pytest.mark.parametrize(
    ("id", "sent"),
    [
        ("654321", 654321),
        ("007", "007"),
        ("-1", "-1"),
        ("a1", "a1"),
        ("٣", "٣"),
        ("9" * 19, "9" * 19),
        ("9" * 200, "9" * 200),
    ],
)
def test_a_probe_sends_an_integer_where_the_id_is_one(id: str, sent: int | str) -> None:
    _, request = look(Order("a", id))
    assert request.url == "https://api.planomatic.com/api/v3/orders/retrieve"
    assert request.repeatable
    assert json.loads(request.body) == {"api_key": KEY, "order_id": sent}


def test_several_orders_are_several_calls() -> None:
    orders = [Order("a", "1"), Order("a", "2")]
    answers = [OK, HttpResponse(404, {}, b'{"code":404}')]
    results, asked = drive(
        cancel([CancelRequest(each, "duplicate_order", "x") for each in orders], CONFIG, context()), answers
    )
    assert [each.outcome for each in results] == [CancelOutcome.SUCCEEDED, CancelOutcome.REFUSED]
    assert [json.loads(each.body)["order_id"] for each in asked] == ["1", "2"]
    facts, asked = drive(
        probe(orders, CONFIG, context()), [HttpResponse(200, {}, b'{"order_id":1,"status":"hold"}'), OK]
    )
    assert isinstance(facts[0], Facts)
    assert isinstance(facts[1], ProbeUnavailable)


@pytest.mark.parametrize("name", ["", " ", "a\0", "a\n", "a\udcff", "x" * 201])
def test_a_name_that_no_order_has_is_not_sent(name: str) -> None:
    [result], requests = drive(cancel([CancelRequest(Order("a", name), "duplicate_order", "x")], CONFIG, context()), [])
    assert (result.outcome, requests) == (CancelOutcome.REFUSED, [])
    [found], requests = drive(probe([Order("a", name)], CONFIG, context()), [])
    assert isinstance(found, ProbeUnavailable)
    assert (found.outcome, requests) == (CancelOutcome.REFUSED, [])


# -- The answers; tests/contract has one of each kind ----------------------------------------


def test_every_status_has_a_meaning() -> None:
    for status in range(200, 600):
        result, _ = ask(Order("a", "1"), answer=HttpResponse(status, {}, b""))
        assert result.outcome in CancelOutcome
        assert (result.outcome is CancelOutcome.SUCCEEDED) == (200 <= status < 300)
        assert result.may_have_applied == (status in (500, 503))
        # What is not said in PlanOmatic's words is nobody's last word.
        assert result.outcome is not CancelOutcome.REFUSED
        [asked], _ = drive(probe([Order("a", "1")], CONFIG, context()), [HttpResponse(status, {}, b"")])
        assert isinstance(asked, ProbeUnavailable)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (200, CancelOutcome.SUCCEEDED),
        (400, CancelOutcome.REFUSED),
        ("400", CancelOutcome.REFUSED),
        (401, CancelOutcome.UNAUTHORIZED),
        (429, CancelOutcome.THROTTLED),
        (500, CancelOutcome.RETRY),
        (502, CancelOutcome.INDETERMINATE),
        (600, CancelOutcome.SUCCEEDED),
        ("many", CancelOutcome.SUCCEEDED),
        (True, CancelOutcome.SUCCEEDED),
        (10**400, CancelOutcome.SUCCEEDED),
    ],
)
def test_a_code_in_the_body_outranks_a_success(code: object, outcome: CancelOutcome) -> None:
    answer = HttpResponse(200, {}, json.dumps({"code": code}).encode())
    assert ask(Order("a", "1"), answer=answer)[0].outcome is outcome


def test_a_code_in_the_body_does_not_outrank_a_failure() -> None:
    answer = HttpResponse(502, {}, b'{"code":400}')
    assert ask(Order("a", "1"), answer=answer)[0].outcome is CancelOutcome.INDETERMINATE


@pytest.mark.parametrize(
    "errors", [None, "x", 1, [None, 1, "x", []], [{}], [{"attr": 1, "message": None}], {"attr": "api_key"}]
)
def test_errors_in_any_shape_are_read(errors: object) -> None:
    answer = HttpResponse(400, {}, json.dumps({"code": 400, "status": "validation-error", "errors": errors}).encode())
    result, _ = ask(Order("a", "1"), answer=answer)
    assert result.outcome is CancelOutcome.REFUSED
    assert "validation-error" in result.detail


def test_a_detail_is_one_short_line_without_the_key() -> None:
    said = f"bad\n\0{'x' * 280}{KEY}{'y' * 5000}"
    body = {"code": 400, "status": KEY, "errors": [{"attr": "order_id", "message": said}], "message": KEY}
    detail = ask(Order("a", "1"), answer=HttpResponse(400, {}, json.dumps(body).encode()))[0].detail
    assert detail.isprintable()
    assert len(detail) < 400
    assert KEY[:4] not in detail


DATE = "Mon, 02 Mar 2026 16:04:05 GMT"


@pytest.mark.parametrize(
    ("headers", "after_s"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "99999999999"}, WAIT_MAX_S),
        ({"retry-after": DATE}, None),
        ({"retry-after": DATE, "date": "Mon, 02 Mar 2026 16:03:05 GMT"}, 60.0),
        ({"retry-after": DATE, "date": "Mon, 02 Mar 2026 16:05:05 GMT"}, None),
        ({"retry-after": DATE, "date": "now"}, None),
        ({"retry-after": DATE, "date": "Mon, 02 Mar 2026 16:03:05 -0000"}, None),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT", "date": DATE}, WAIT_MAX_S),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], after_s: float | None) -> None:
    assert retry_after_s(HttpResponse(429, headers)) == after_s


def test_a_wait_is_only_told_where_it_means_something() -> None:
    headers = {"retry-after": "30"}
    after = {
        status: ask(Order("a", "1"), answer=HttpResponse(status, headers, b'{"errors":[]}'))[0].after_s
        for status in (200, 400, 429, 503)
    }
    assert after == {200: None, 400: None, 429: 30.0, 503: 30.0}


def test_an_answer_names_the_order_by_any_of_its_names() -> None:
    known = Order("a", "request:7")
    facts, _ = look(known, {"order": {"order_id": 900, "request_id": 7, "status": "ordered"}})
    assert isinstance(facts, Facts)
    assert facts.aliases == ("900",)
    other, _ = look(known, {"order": {"order_id": 900, "request_id": 8, "status": "ordered"}})
    assert isinstance(other, ProbeUnavailable)


@pytest.mark.parametrize("status", ["success", "canceled-ish", None, 5])
def test_the_status_of_the_call_is_not_the_order_s(status: object) -> None:
    result, _ = look(Order("a", "1"), {"code": 200, "status": status, "order_id": 1})
    assert isinstance(result, ProbeUnavailable)
    assert "status_keys" in str(result)


def test_nothing_read_shows_the_key() -> None:
    assert KEY not in repr(read(HttpResponse(400, {}, KEY.encode()), CONFIG))
