from __future__ import annotations

import json
from typing import Any

import pytest
from contract.handler_cases import context, drive
from unit.kibo.support import ENTITY

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
from app.kit.responses import ResponseKind
from handlers.kibo.cancel import cancel, probe
from handlers.kibo.config import Config
from handlers.kibo.responses import read

CONFIG = Config.model_validate({"tenant": "10001", "shared_secret": "s3cret-one", "credential": "s3cret-two"})
URL = "https://10001-translation.mozu.com/api/v2/order"
OPEN = {"orderID": 1010101, "orderState": "READY", "orderStatus": "Accepted"}
CANCELED = {**OPEN, "orderState": "CANCELED", "orderStatus": "Cancelled"}


def answer(body: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {}, json.dumps(body).encode())


def ask(
    order: Order,
    *answers: HttpResponse,
    reason: str = "customer_changed_mind",
    note: str | None = None,
    config: Config = CONFIG,
) -> tuple[CancelResult, list[HttpRequest]]:
    [result], requests = drive(cancel([CancelRequest(order, reason, note)], config, context()), list(answers))
    return result, requests


def look(
    order: Order, *answers: HttpResponse, config: Config = CONFIG
) -> tuple[Facts | ProbeUnavailable, list[HttpRequest]]:
    [result], requests = drive(probe([order], config, context()), list(answers))
    return result, requests


# -- Cancel Order ----------------------------------------------------------------------------


def test_the_cancel_is_the_documented_one() -> None:
    result, [request] = ask(Order("a", "1010101"), answer(CANCELED), reason="other", note="Customer changed mind")
    assert (request.method, request.url) == ("POST", f"{URL}/action/cancel")
    assert request.headers == {
        "x-vol-tenant": "10001",
        "Accept": "application/json",
        "Authorization": "s3cret-two",
        "Content-Type": "application/json",
    }
    assert json.loads(request.body) == {
        "orderID": 1010101,
        "dispositionReason": "other",
        "dispositionOtherReason": "Customer changed mind",
    }
    assert not request.repeatable
    assert result.outcome is CancelOutcome.SUCCEEDED
    assert result.facts is not None
    assert result.facts.phase is Phase.CANCELED


@pytest.mark.parametrize("note", [None, "", "left out"])
def test_an_explanation_goes_with_the_reason_other_only(note: str | None) -> None:
    _, [request] = ask(Order("a", "1010101"), answer(CANCELED), note=note)
    assert json.loads(request.body) == {"orderID": 1010101, "dispositionReason": "customer_changed_mind"}


def test_the_account_says_where_and_how() -> None:
    config = Config.model_validate({"tenant": "t7", "base_url": "http://127.0.0.1:1/kibo/", "timeout_s": 3})
    _, [request] = ask(Order("a", "1"), answer(CANCELED), config=config)
    assert (request.url, request.timeout_s) == ("http://127.0.0.1:1/kibo/api/v2/order/action/cancel", 3)
    assert (request.headers["x-vol-tenant"], request.headers.get("Authorization")) == ("t7", None)
    config = Config.model_validate({"tenant": "7", "credential": "c", "credential_header": "x-vol-app-claims"})
    _, [request] = ask(Order("a", "1"), answer(CANCELED), config=config)
    assert request.headers["x-vol-app-claims"] == "c"


@pytest.mark.parametrize(
    "order",
    [
        Order("a", "1010101"),
        Order("a", ENTITY, aliases=("1010101",)),
        Order("a", ENTITY, attributes={"orderID": 1010101}),
        Order("a", "5", attributes={"orderID": 1010101}),
    ],
)
def test_an_order_is_named_by_its_order_id(order: Order) -> None:
    _, [request] = ask(order, answer(CANCELED))
    assert json.loads(request.body)["orderID"] == 1010101


def test_an_order_known_by_its_entity_alone_is_looked_up_first() -> None:
    result, [lookup, request] = ask(Order("a", ENTITY), answer(OPEN), answer({**CANCELED, "entityId": ENTITY}))
    assert (lookup.method, lookup.url, lookup.body, lookup.repeatable) == ("GET", f"{URL}/{ENTITY}", b"", True)
    assert json.loads(request.body)["orderID"] == 1010101
    assert not request.repeatable
    assert result.outcome is CancelOutcome.SUCCEEDED
    assert result.facts is not None
    assert result.facts.aliases == ("1010101",)


def test_an_entity_id_that_is_a_number_is_never_sent_as_an_order_id() -> None:
    order = Order("a", "entity:1024")
    result, [lookup, request] = ask(order, answer({**OPEN, "entityId": 1024}), answer(CANCELED))
    assert lookup.url == f"{URL}/1024"
    assert json.loads(request.body)["orderID"] == 1010101
    assert result.outcome is CancelOutcome.SUCCEEDED
    # Whoever answers for the orderID of that number speaks of another order.
    result, [lookup] = ask(order, answer({**OPEN, "orderID": 1024}))
    assert lookup.repeatable
    assert result.outcome is CancelOutcome.RETRY
    assert "entity_order_path" in result.detail


@pytest.mark.parametrize(
    "found",
    [
        answer({**OPEN, "orderState": "CANCELED"}),
        answer({**OPEN, "fulfillmentStatus": "Fulfilled"}),
        answer({**OPEN, "restrictCancellation": True}),
        answer({"entityId": ENTITY, "orderStatus": "Accepted"}),
        answer({}),
        answer({**OPEN, "entityId": "another"}),
        answer({"orderID": 1010101}),
        *(HttpResponse(status, {}, b"") for status in (204, 301, 400, 401, 403, 404, 408, 429, 500, 502, 503, 504)),
    ],
)
def test_nothing_is_sent_in_vain(found: HttpResponse) -> None:
    result, [lookup] = ask(Order("a", ENTITY), found)
    assert lookup.repeatable
    # What was not sent had no effect: no outcome is uncertain, and nothing is waited for.
    assert result.outcome not in (CancelOutcome.SUCCEEDED, CancelOutcome.ACCEPTED, CancelOutcome.INDETERMINATE)
    assert not result.may_have_applied


@pytest.mark.parametrize("known", [OPEN, {**OPEN, "orderStatus": "Processing"}, {**OPEN, "orderStatus": "Errored"}])
def test_what_a_look_up_leaves_open_is_kibo_s_to_say(known: dict[str, Any]) -> None:
    result, [_, request] = ask(Order("a", ENTITY), answer(known), answer({"message": "no"}, 409))
    assert json.loads(request.body)["orderID"] == 1010101
    assert result.outcome is CancelOutcome.REFUSED


def test_several_orders_are_several_calls() -> None:
    orders = [Order("a", ENTITY), Order("a", "2"), Order("a", "3")]
    requests = [CancelRequest(each, "created_by_mistake") for each in orders]
    answers = [answer({"message": "no"}, 404), answer({**CANCELED, "orderID": 2}), HttpResponse(504, {}, b"")]
    results, asked = drive(cancel(requests, CONFIG, context()), answers)
    outcomes = [CancelOutcome.RETRY, CancelOutcome.SUCCEEDED, CancelOutcome.INDETERMINATE]
    assert [each.outcome for each in results] == outcomes
    assert [each.method for each in asked] == ["GET", "POST", "POST"]


# -- The answers; tests/contract has one of each kind ----------------------------------------


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"[]", b'{"message":"m"}'])
def test_every_status_has_a_meaning(body: bytes) -> None:
    for status in range(200, 600):
        result, _ = ask(Order("a", "1"), HttpResponse(status, {}, body))
        # Without the order nothing is a success, and nothing that may have worked is sent again unseen.
        assert result.outcome not in (CancelOutcome.SUCCEEDED, CancelOutcome.ACCEPTED)
        if result.outcome in (CancelOutcome.RETRY, CancelOutcome.THROTTLED):
            assert result.may_have_applied or status // 100 in (3, 4)
        # A refusal is one in Kibo's own words: a tenant without translated APIs must not lose its cancels.
        assert (result.outcome is CancelOutcome.REFUSED) <= (body == b'{"message":"m"}')
        if status // 100 in (2, 5) or status == 408:
            assert result.outcome is CancelOutcome.INDETERMINATE or result.may_have_applied
        assert result.detail.endswith(".")
        asked, _ = look(Order("a", "1"), HttpResponse(status, {}, body))
        assert isinstance(asked, ProbeUnavailable)
        # Where an order is fetched no document says: what is not there decides nothing.
        assert asked.outcome is not CancelOutcome.REFUSED


@pytest.mark.parametrize(
    ("shown", "outcome"),
    [
        (CANCELED, CancelOutcome.SUCCEEDED),
        ({**OPEN, "orderState": "CANCELED"}, CancelOutcome.SUCCEEDED),
        (OPEN, CancelOutcome.ACCEPTED),
        ({**OPEN, "orderStatus": "Canceling"}, CancelOutcome.ACCEPTED),
        ({**OPEN, "orderStatus": "Completed"}, CancelOutcome.REFUSED),
        ({**CANCELED, "orderID": 2}, CancelOutcome.INDETERMINATE),
        ({**CANCELED, "orderID": None}, CancelOutcome.INDETERMINATE),
        ({**CANCELED, "orderID": None, "entityId": ENTITY}, CancelOutcome.SUCCEEDED),
        ({**CANCELED, "orderID": None, "entityId": "another"}, CancelOutcome.INDETERMINATE),
    ],
)
def test_a_success_is_one_only_if_the_order_is_canceled(shown: dict[str, Any], outcome: CancelOutcome) -> None:
    result, _ = ask(Order("a", ENTITY, aliases=("1010101",)), answer(shown))
    assert result.outcome is outcome
    # What may be another's is not recorded as this order's.
    assert (result.facts is None) == (outcome in (CancelOutcome.ACCEPTED, CancelOutcome.INDETERMINATE))


@pytest.mark.parametrize("items", [None, "x", 1, [None, 1, "x", []], [{}], [{"errorCode": 1, "message": None}], {}])
def test_errors_in_any_shape_are_read(items: object) -> None:
    result, _ = ask(Order("a", "1"), answer({"errorCode": "E", "message": "no.", "items": items}, 400))
    assert (result.outcome, result.detail) == (CancelOutcome.REFUSED, "Kibo answered 400, E: no.")


def test_a_detail_is_one_short_line_without_secrets() -> None:
    said = f"bad\n\0s3cret-one s3cret-two {{tenant}}{'y' * 5000}"
    for status in (400, 403, 404, 500):
        result, _ = ask(
            Order("a", "1"), answer({"errorCode": said, "message": said, "items": [{"message": said}]}, status)
        )
        assert result.detail.isprintable()
        assert len(result.detail) < 600
        assert "s3cret" not in result.detail
        assert "{tenant}" in result.detail


def test_a_wait_is_only_told_where_it_means_something() -> None:
    headers = {"retry-after": "30"}
    after = {
        status: ask(Order("a", "1"), HttpResponse(status, headers, b'{"message":"m"}'))[0].after_s
        for status in (200, 400, 429, 503)
    }
    assert after == {200: None, 400: None, 429: 30.0, 503: 30.0}


@pytest.mark.parametrize(
    "repeated", ["Bearer s3cr3t/+", "s3cr3t/+", "bearer s3cr3t/+", "s3cr3t%2F%2B", "Bearer+s3cr3t%2F%2B"]
)
def test_a_credential_is_hidden_without_its_scheme_too(repeated: str) -> None:
    config = Config.model_validate({"tenant": "1", "credential": "Bearer s3cr3t/+"})
    detail = read(HttpResponse(400, {}, json.dumps({"message": f"bad {repeated}"}).encode()), config).detail
    assert "s3cr3t" not in detail
    assert "bad" in detail


def test_nothing_read_shows_a_secret() -> None:
    assert "s3cret" not in repr(read(HttpResponse(400, {}, b'{"message":"s3cret-two"}'), CONFIG).detail)
    assert read(HttpResponse(204, {}, b""), CONFIG).kind is ResponseKind.UNREADABLE


# -- Get Order -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "path"),
    [
        (Order("a", "1010101"), "/number/1010101"),
        (Order("a", ENTITY), f"/entity/{ENTITY}"),
        (Order("a", ENTITY, aliases=("1010101",)), "/number/1010101"),
        (Order("a", "007"), "/entity/007"),
        (Order("a", "entity:1024"), "/entity/1024"),
        (Order("a", "entity:1024", aliases=("1010101",)), "/number/1010101"),
        (Order("a", "ab?c#d e%"), "/entity/ab%3Fc%23d%20e%25"),
        (Order("a", "5", aliases=("6",)), "/number/5"),
    ],
)
def test_a_probe_asks_by_the_best_name(order: Order, path: str) -> None:
    paths = {"order_path": "/number/{id}", "entity_order_path": "/entity/{id}"}
    config = Config.model_validate({"tenant": "10001", **paths})
    _, [request] = look(order, answer({}), config=config)
    assert request.url == f"https://10001-translation.mozu.com{path}"
    assert (request.method, request.body, request.repeatable) == ("GET", b"", True)
    assert request.headers == {"x-vol-tenant": "10001", "Accept": "application/json"}


@pytest.mark.parametrize("name", [".", "..", "", "a/b", "a\\b", "a\0", "a\n", "a\udcff", "entity:.."])
def test_a_name_that_leads_elsewhere_is_not_asked_for(name: str) -> None:
    found, requests = look(Order("a", name))
    assert isinstance(found, ProbeUnavailable)
    assert found.outcome is CancelOutcome.REFUSED
    assert requests == []
    result, requests = ask(Order("a", name))
    assert result.outcome is CancelOutcome.REFUSED
    assert requests == []


def test_a_probe_in_vain_says_which_path_to_set() -> None:
    for order, told in ((Order("a", "1010101"), False), (Order("a", ENTITY), True)):
        found, _ = look(order, answer({"message": "no"}, 404))
        assert isinstance(found, ProbeUnavailable)
        assert ("entity_order_path" in str(found)) is told
        assert "order_path" in str(found)
        assert found.outcome is CancelOutcome.INDETERMINATE


def test_a_probe_ties_both_names() -> None:
    shown = {**OPEN, "entityId": ENTITY}
    for order, alias in ((Order("a", ENTITY), "1010101"), (Order("a", "1010101"), ENTITY)):
        facts, _ = look(order, answer(shown))
        assert isinstance(facts, Facts)
        assert (facts.snapshot, facts.phase, facts.aliases) == (True, Phase.OPEN, (alias,))


def test_what_is_no_longer_stated_is_no_longer_so() -> None:
    known = Order("a", "1010101", attributes={"restrictCancellation": True, "fulfillmentStatus": "PartiallyFulfilled"})
    facts, _ = look(known, answer(OPEN))
    assert isinstance(facts, Facts)
    assert facts.attributes["restrictCancellation"] is None
    assert facts.attributes["fulfillmentStatus"] is None
    facts, _ = look(known, answer({**OPEN, "restrictCancellation": True}))
    assert isinstance(facts, Facts)
    assert facts.attributes["restrictCancellation"] is True
    facts, _ = look(Order("a", "1010101"), answer(OPEN))
    assert isinstance(facts, Facts)
    assert "restrictCancellation" not in facts.attributes


def test_an_answer_about_another_order_is_not_believed() -> None:
    for order, shown in (
        (Order("a", "7"), OPEN),
        (Order("a", ENTITY), {**OPEN, "entityId": "another"}),
        (Order("a", ENTITY, aliases=("7",)), {**OPEN, "entityId": ENTITY}),
    ):
        found, _ = look(order, answer(shown))
        assert isinstance(found, ProbeUnavailable)
        assert "entity_id_keys" in str(found)


def test_several_orders_are_probed_one_by_one() -> None:
    found, asked = drive(
        probe([Order("a", "1010101"), Order("a", "2")], CONFIG, context()), [answer(OPEN), answer({}, 404)]
    )
    assert isinstance(found[0], Facts)
    assert isinstance(found[1], ProbeUnavailable)
    assert len(asked) == 2
