from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from contract.handler_cases import context, converse, drive
from hypothesis import given
from hypothesis import strategies as st
from unit.shoplazza.support import CONFIG, ID, SECRET, TOKEN, make, order
from yarl import URL

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
from handlers.shoplazza.cancel import cancel, probe
from handlers.shoplazza.config import Config
from handlers.shoplazza.responses import INTERNAL_ERRORS, read
from handlers.shoplazza.simulator import ERROR_STYLES, Shoplazza

# From “Cancel Order”, “Error Detail”.
CREDENTIALS = "The request is missing valid authentication credentials or the credentials provided are invalid."
KNOWN = Order("a", ID)
AT = "2026-03-02T16:04:07Z"


def ok(**more: Any) -> HttpResponse:
    return HttpResponse(200, {}, json.dumps({"order": order(**more)}).encode())


CANCELED = ok(status="cancelled", canceled_at=AT)


def ask(
    known: Order = KNOWN, answer: HttpResponse = CANCELED, config: Config = CONFIG, reason: str = "Out of stock"
) -> tuple[CancelResult, HttpRequest]:
    """Cancel; a read that asks which scope is missing gets the same answer."""
    asked: list[HttpRequest] = []

    class Provider:
        def handle(self, request: HttpRequest, now: float) -> HttpResponse:  # noqa: ARG002 - as every simulator
            asked.append(request)
            return answer

    [result] = converse(cancel([CancelRequest(known, reason)], config, context()), Provider(), 0)  # type: ignore[arg-type]
    return result, asked[0]


def look(known: Order = KNOWN, answer: HttpResponse | None = None, config: Config = CONFIG) -> tuple[Any, HttpRequest]:
    [result], [request] = drive(probe([known], config, context()), [answer or ok()])
    return result, request


# -- The calls -------------------------------------------------------------------------------


def test_the_cancel_is_the_documented_one() -> None:
    _, request = ask()
    assert (request.method, request.url) == (
        "POST",
        "https://acme.myshoplaza.com/openapi/2022-01/orders/633130-00000004/cancel",
    )
    assert request.headers == {
        "access-token": TOKEN,
        "Accept": "application/json",
        "Content-Type": "application/json",
    }
    assert json.loads(request.body) == {"reason": "Out of stock"}
    assert not request.repeatable


def test_a_reason_is_not_required() -> None:
    assert json.loads(ask(reason=" ")[1].body) == {}


def test_the_probe_is_the_documented_one() -> None:
    _, request = look()
    assert (request.method, request.url, request.body) == (
        "GET",
        "https://acme.myshoplaza.com/openapi/2022-01/orders/633130-00000004",
        b"",
    )
    assert request.headers == {"access-token": TOKEN, "Accept": "application/json"}
    assert request.repeatable


def test_the_account_says_where_and_how_long() -> None:
    config = make(base_url="http://127.0.0.1:1/shoplazza/", timeout_s=3)
    _, request = ask(config=config)
    assert request.url == f"http://127.0.0.1:1/shoplazza/openapi/2022-01/orders/{ID}/cancel"
    assert request.timeout_s == 3


@pytest.mark.parametrize(
    ("id", "quoted"),
    [("a b", "a%20b"), ("a?b", "a%3Fb"), ("a#b", "a%23b"), ("a%2Fb", "a%252Fb"), ("é", "%C3%A9"), ("...", "...")],
)
def test_an_id_is_quoted(id: str, quoted: str) -> None:
    assert ask(Order("a", id), ok(id=id))[1].url.endswith(f"/orders/{quoted}/cancel")
    assert look(Order("a", id), ok(id=id))[1].url.endswith(f"/orders/{quoted}")


@pytest.mark.parametrize("id", [".", "..", "../webhooks", "a/b", "a\\b", "\ud800", ""])
def test_an_id_that_would_leave_its_place_is_never_sent(id: str) -> None:
    [result], asked = drive(cancel([CancelRequest(Order("a", id), "x")], CONFIG, context()), [])
    assert (result.outcome, asked) == (CancelOutcome.REFUSED, [])
    assert result.detail.isprintable()
    [found], asked = drive(probe([Order("a", id)], CONFIG, context()), [])
    assert isinstance(found, ProbeUnavailable)
    assert (found.outcome, asked) == (CancelOutcome.REFUSED, [])


@given(st.text(min_size=1, max_size=30))
def test_every_call_names_one_order(id: str) -> None:
    flow = cancel([CancelRequest(Order("a", id), "x")], CONFIG, context())
    try:
        url = next(flow).url
    except StopIteration:
        return
    # As a client normalizes it.
    *_, resource, name, action = URL(url).raw_path.split("/")
    assert URL(url).raw_path.count("/") == 5
    assert (resource, action) == ("orders", "cancel")
    assert name


def test_an_order_first_heard_of_by_its_number_is_called_by_its_id() -> None:
    known = Order("a", "EX1001", aliases=(ID,), attributes={"id": ID})
    result, request = ask(known)
    assert request.url.endswith(f"/orders/{ID}/cancel")
    assert result.outcome is CancelOutcome.SUCCEEDED


def test_several_orders_are_several_calls() -> None:
    orders = [Order("a", ID), Order("a", ".."), Order("a", "2")]
    answers = [CANCELED, HttpResponse(406, {}, b"")]
    results, asked = drive(cancel([CancelRequest(each, "x") for each in orders], CONFIG, context()), answers)
    assert [each.outcome for each in results] == [
        CancelOutcome.SUCCEEDED,
        CancelOutcome.REFUSED,
        CancelOutcome.REFUSED,
    ]
    assert [each.url.split("/")[-2] for each in asked] == [ID, "2"]
    facts, asked = drive(probe(orders, CONFIG, context()), [ok(), HttpResponse(404, {}, b"Record not found")])
    assert [type(each) for each in facts] == [Facts, ProbeUnavailable, ProbeUnavailable]
    assert len(asked) == 2


# -- What a success shows --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "outcome"),
    [
        ({"status": "cancelled"}, CancelOutcome.SUCCEEDED),
        ({"status": "finished", "canceled_at": AT}, CancelOutcome.SUCCEEDED),
        ({"status": "finished", "cancel_reason": "Out of stock"}, CancelOutcome.SUCCEEDED),
        ({"status": "finished"}, CancelOutcome.ACCEPTED),
        ({"status": "placed", "cancel_reason": "Out of stock"}, CancelOutcome.ACCEPTED),
        ({"status": "placed"}, CancelOutcome.ACCEPTED),
        ({"id": "another", "status": "cancelled"}, CancelOutcome.INDETERMINATE),
        ({"id": None}, CancelOutcome.INDETERMINATE),
        ({"canceled_at": "soon"}, CancelOutcome.INDETERMINATE),
    ],
)
def test_only_an_order_that_shows_it_is_canceled(more: dict[str, Any], outcome: CancelOutcome) -> None:
    result, _ = ask(answer=ok(**more))
    assert result.outcome is outcome
    if outcome is CancelOutcome.SUCCEEDED:
        assert result.facts is not None
        assert (result.facts.phase, result.facts.provider_status) == (Phase.CANCELED, more["status"])


def test_a_probe_keeps_what_is_canceled() -> None:
    finished = ok(status="finished")
    assert look(answer=finished)[0].phase is Phase.COMPLETED
    assert look(Order("a", ID, phase=Phase.CANCELED), finished)[0].phase is Phase.CANCELED
    assert look(Order("a", ID, phase=Phase.CANCELED))[0].phase is Phase.OPEN


def test_a_probe_names_the_order_by_what_it_is_not_called_yet() -> None:
    config = make(number_is_alias=True)
    assert (look(config=config)[0].aliases, look(config=config)[0].shared_aliases) == ((), ("EX1001",))
    assert look(Order("a", "EX1001", attributes={"id": ID}), config=config)[0].aliases == (ID,)


# -- What else comes back; tests/contract has one answer of each kind ------------------------


def test_every_status_has_a_meaning() -> None:
    for status in range(200, 600):
        result, _ = ask(answer=HttpResponse(status, {}, b""))
        assert result.outcome in CancelOutcome
        assert result.outcome is not CancelOutcome.SUCCEEDED
        assert result.may_have_applied == (status == 503)
        # What may have come as far as the order is not sent again blindly.
        if status // 100 in (2, 5) and status not in (501, 503):
            assert result.outcome is CancelOutcome.INDETERMINATE
        found, _ = look(answer=HttpResponse(status, {}, b""))
        assert isinstance(found, ProbeUnavailable)
        # Without a word of Shoplazza's, nobody says that there is no such order.
        assert found.outcome is not CancelOutcome.REFUSED


SHAPES = [
    lambda said: json.dumps({"errors": [said]}),
    lambda said: json.dumps({"errors": ["first", said]}),
    lambda said: json.dumps({"errors": said}),
    lambda said: json.dumps({"errors": {"base": [said]}}),
    lambda said: json.dumps({"errors": {"order": said}}),
    lambda said: json.dumps({"error": said}),
    lambda said: said,
    json.dumps,
]


@pytest.mark.parametrize("shape", range(len(SHAPES)))
@pytest.mark.parametrize(
    ("status", "said", "outcome", "probed"),
    [
        (400, "Unauthorized", CancelOutcome.UNAUTHORIZED, CancelOutcome.UNAUTHORIZED),
        (400, CREDENTIALS, CancelOutcome.UNAUTHORIZED, CancelOutcome.UNAUTHORIZED),
        (422, f"Unauthorized: {CREDENTIALS}", CancelOutcome.UNAUTHORIZED, CancelOutcome.UNAUTHORIZED),
        (400, "unauthorised: token expired", CancelOutcome.UNAUTHORIZED, CancelOutcome.UNAUTHORIZED),
        (422, "Requires the write_order access scope", CancelOutcome.UNAUTHORIZED, CancelOutcome.UNAUTHORIZED),
        (400, "store is not active", CancelOutcome.UNAUTHORIZED, CancelOutcome.UNAUTHORIZED),
        (400, "Bad Request", CancelOutcome.REFUSED, CancelOutcome.RETRY),
        (400, "an Unauthorized purchase", CancelOutcome.REFUSED, CancelOutcome.RETRY),
        (404, "Record not found", CancelOutcome.REFUSED, CancelOutcome.REFUSED),
        (404, "Unable to find resource", CancelOutcome.REFUSED, CancelOutcome.REFUSED),
        (500, "Aborted", CancelOutcome.INDETERMINATE, CancelOutcome.RETRY),
        (500, "DeadlineExceeded", CancelOutcome.INDETERMINATE, CancelOutcome.RETRY),
        (500, "rpc error: code = NotFound desc = x", CancelOutcome.INDETERMINATE, CancelOutcome.REFUSED),
        (500, "rpc error: code = Unauthenticated", CancelOutcome.INDETERMINATE, CancelOutcome.UNAUTHORIZED),
        (500, "Unimplemented", CancelOutcome.RETRY, CancelOutcome.RETRY),
        (500, "record notfound", CancelOutcome.INDETERMINATE, CancelOutcome.RETRY),
    ],
)
def test_words_count_in_any_shape(
    shape: int, status: int, said: str, outcome: CancelOutcome, probed: CancelOutcome
) -> None:
    answer = HttpResponse(status, {}, SHAPES[shape](said).encode())
    result, _ = ask(answer=answer)
    assert result.outcome is outcome
    assert said.rstrip(".") in result.detail
    assert look(answer=answer)[0].outcome is probed


def test_the_missing_scope_is_named() -> None:
    """Also where Shoplazza answers with the sentence that it has for a wrong token."""
    for style, names_scopes in product(ERROR_STYLES, (True, False)):
        given: dict[str, Any] = {
            "error_style": style,
            "unauthorized_says": CREDENTIALS,
            "names_scopes": names_scopes,
        }
        reads = Shoplazza(scopes=["read_order"], **given)
        reads.act({"do": "create_order", "order_id": ID}, 0)
        [result] = converse(cancel([CancelRequest(KNOWN, "x")], CONFIG, context()), reads, 0)
        assert result.outcome is CancelOutcome.UNAUTHORIZED
        assert "lacks the scope write_order (400" in result.detail or names_scopes
        assert "lacks the scope write_order" in result.detail
        cancels = Shoplazza(scopes=["write_order"], **given)
        [found] = converse(probe([KNOWN], CONFIG, context()), cancels, 0)
        assert isinstance(found, ProbeUnavailable)
        assert found.outcome is CancelOutcome.UNAUTHORIZED
        assert ("lacks the scope read_order" in str(found)) == names_scopes
        neither = Shoplazza(scopes=[], **given)
        [result] = converse(cancel([CancelRequest(KNOWN, "x")], CONFIG, context()), neither, 0)
        assert result.outcome is CancelOutcome.UNAUTHORIZED
        assert "write_order" in result.detail
        stranger = Shoplazza(access_token="another", **given)
        [result] = converse(cancel([CancelRequest(KNOWN, "x")], CONFIG, context()), stranger, 0)
        assert result.outcome is CancelOutcome.UNAUTHORIZED
        assert "lacks" not in result.detail


def test_every_documented_word_of_a_500_has_a_meaning() -> None:
    assert set(INTERNAL_ERRORS) == {"Aborted", "NotFound", "Unimplemented", "Unauthenticated", "DeadlineExceeded"}


def test_what_is_about_a_field_is_not_about_credentials() -> None:
    """…where the field is an argument, whose words the message may repeat."""
    body = {"errors": {"reason": ["Unauthorized", CREDENTIALS]}}
    result, _ = ask(answer=HttpResponse(400, {}, json.dumps(body).encode()))
    assert result.outcome is CancelOutcome.REFUSED
    assert result.detail == f"Shoplazza answered 400, reason: Unauthorized; reason: {CREDENTIALS}"


@pytest.mark.parametrize("errors", [None, 1, [None, 1, {}], {"a": None}, {"a": {"b": 1}}, [], {}, [[]], ["", " "]])
def test_errors_in_any_shape_are_read(errors: object) -> None:
    answer = HttpResponse(422, {}, json.dumps({"errors": errors, "error": errors}).encode())
    assert ask(answer=answer)[0] == CancelResult(CancelOutcome.REFUSED, "Shoplazza answered 422.")


@pytest.mark.parametrize(
    "body",
    [
        "<html>Record not found</html>",
        "[",
        "{",
        "x" * 301,
        " ",
        "{}",
        "[]",
        "null",
        "404 page not found",
        '{"error":"404 Page not found"}',
    ],
)
def test_a_404_of_somebody_else_refuses_nothing(body: str) -> None:
    result, _ = ask(answer=HttpResponse(404, {}, body.encode()))
    assert result.outcome is CancelOutcome.RETRY
    assert "shop_domain" in result.detail


def test_a_detail_is_one_short_line_without_a_secret() -> None:
    said = f"bad\n\0 {TOKEN} {SECRET} {'y' * 5000}"
    body = {"errors": [said, TOKEN], "error": SECRET}
    for status in (200, 400, 404, 500):
        detail = ask(answer=HttpResponse(status, {}, json.dumps(body).encode()))[0].detail
        assert detail.isprintable()
        assert len(detail) < 500
        assert TOKEN not in detail
        assert SECRET not in detail


def test_a_wait_is_only_told_where_it_means_something() -> None:
    headers = {"retry-after": "30"}
    after = {status: ask(answer=HttpResponse(status, headers))[0].after_s for status in (200, 400, 429, 500, 501, 503)}
    assert after == {200: None, 400: None, 429: 30.0, 500: None, 501: 30.0, 503: 30.0}


def test_nothing_read_shows_the_token() -> None:
    assert TOKEN not in repr(read(HttpResponse(400, {}, TOKEN.encode()), CONFIG, "write_order"))
    assert TOKEN not in repr(ask()[1])
