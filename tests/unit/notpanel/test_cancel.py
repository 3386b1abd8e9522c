from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from unit.notpanel.support import CONFIG, KEY, ask, context, drive, form, order, response

from app.contract import CancelOutcome, CancelRequest, CancelResult, Facts, HttpResponse, Phase
from handlers.notpanel.calls import is_nameable
from handlers.notpanel.cancel import cancel
from handlers.notpanel.config import Config

ACCEPTED, REFUSED, RETRY = CancelOutcome.ACCEPTED, CancelOutcome.REFUSED, CancelOutcome.RETRY
INDETERMINATE, UNAUTHORIZED, THROTTLED = (
    CancelOutcome.INDETERMINATE,
    CancelOutcome.UNAUTHORIZED,
    CancelOutcome.THROTTLED,
)


def outcomes(results: list[CancelResult]) -> list[CancelOutcome]:
    return [each.outcome for each in results]


def one(answer: HttpResponse, config: Config = CONFIG) -> CancelResult:
    [result], _ = ask(["ord_1"], answer, config=config)
    return result


def rows(*given: Any) -> list[CancelOutcome]:
    """What becomes of orders 1, 2 and 3 by these rows."""
    return outcomes(ask(["1", "2", "3"], response(list(given)))[0])


# -- The call --------------------------------------------------------------------------------


def test_one_order_is_named_by_order() -> None:
    _, [request] = ask(["ord_01HG9X7KJP4N"], response({"cancel": "ord_01HG9X7KJP4N"}))
    assert (request.method, request.url) == ("POST", "https://notpanel.com/api/v2")
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert form(request) == {"key": KEY, "action": "cancel", "order": "ord_01HG9X7KJP4N"}
    assert not request.repeatable


def test_several_orders_are_one_call_and_named_by_orders() -> None:
    ids = [f"ord_{number}" for number in range(100)]
    _, [request] = ask(ids, response([]))
    assert form(request) == {"key": KEY, "action": "cancel", "orders": ",".join(ids)}
    assert not request.repeatable


def test_the_account_says_where_and_how_long() -> None:
    config = Config.model_validate({"key": "k&y=1", "base_url": "http://127.0.0.1:8701/notpanel/", "timeout_s": 3})
    _, [request] = ask(["a&b=c ü"], response({}), config=config)
    assert (request.url, request.timeout_s) == ("http://127.0.0.1:8701/notpanel/api/v2", 3)
    assert form(request) == {"key": "k&y=1", "action": "cancel", "order": "a&b=c ü"}


@pytest.mark.parametrize("id", ["1,2", ",", " 1", "1\n", "", "1, 2"])
def test_an_id_that_no_list_can_hold_is_refused_unsent_and_spoils_nothing(id: str) -> None:
    results, sent = ask(["1", id, "2"], response([{"order": 2, "cancel": 2}, {"order": 1, "cancel": 1}]))
    assert outcomes(results) == [ACCEPTED, REFUSED, ACCEPTED]
    assert [form(each)["orders"] for each in sent] == ["1,2"]
    results, sent = ask([id])
    assert (outcomes(results), sent) == ([REFUSED], [])
    assert "nothing was sent" in results[0].detail
    # What is left alone is named as one order.
    assert form(ask([id, "1"], response({"cancel": "1"}))[1][0])["order"] == "1"


def test_an_order_given_twice_is_asked_for_once() -> None:
    results, [sent] = ask(["1", "1"], response({"cancel": "1"}))
    assert (outcomes(results), form(sent)["order"]) == ([ACCEPTED, ACCEPTED], "1")


def test_no_orders_are_no_call() -> None:
    assert drive(cancel([], CONFIG, context()), []) == ([], [])


def test_nothing_is_taken_for_canceled_whatever_was_known_of_the_order() -> None:
    known = order("1")
    request = CancelRequest(known, "because")
    for phase in Phase:
        pending = CancelRequest(type(known)("account", "1", phase=phase, provider_status="pending"), request.reason)
        [result], _ = drive(cancel([pending], CONFIG, context()), [response({"cancel": "1"})])
        assert (result.outcome, result.facts) == (ACCEPTED, None)


# -- Rows ------------------------------------------------------------------------------------

GOOD = {"order": "1", "cancel": "1"}
BAD = {"order": 2, "error": "Order not found"}
NESTED = {"order": 3, "cancel": {"error": "Service does not support cancellation"}}


@pytest.mark.parametrize("given", list(permutations([GOOD, BAD, NESTED])))
def test_rows_are_matched_by_id_whatever_their_order(given: tuple[Any, ...]) -> None:
    results, _ = ask(["1", "2", "3"], response(list(given)))
    assert outcomes(results) == [ACCEPTED, REFUSED, REFUSED]
    assert "Order not found" in results[1].detail
    assert "does not support" in results[2].detail


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], [INDETERMINATE] * 3),
        ([GOOD], [ACCEPTED, INDETERMINATE, INDETERMINATE]),
        ([GOOD, BAD], [ACCEPTED, REFUSED, INDETERMINATE]),
        ([GOOD, GOOD, BAD, NESTED], [ACCEPTED, REFUSED, REFUSED]),
        ([GOOD, {"order": 1, "error": "Order not found"}, BAD, NESTED], [INDETERMINATE, REFUSED, REFUSED]),
        ([{"order": 1, "error": "x"}, GOOD, GOOD, BAD, NESTED], [INDETERMINATE, REFUSED, REFUSED]),
        ([{"order": "4", "cancel": "4"}, {"cancel": "1"}, "1", None], [INDETERMINATE] * 3),
        ([{"order": 1.0, "cancel": 1}, {"order": True, "cancel": 1}], [INDETERMINATE] * 3),
        ([{"order": 1, "cancel": None}, {"order": 2, "cancel": ""}, {"order": 3}], [INDETERMINATE] * 3),
        ([{"order": 1, "cancel": {}}, {"order": 2, "cancel": [1]}, {"order": 3, "cancel": False}], [INDETERMINATE] * 3),
        (
            [{"order": 1, "cancel": True}, {"order": 2, "cancel": 77}, {"order": 3, "cancel": "x", "error": None}],
            [ACCEPTED] * 3,
        ),
        (
            [{"order": 1, "cancel": 1, "error": "x"}, {"order": 2, "error": {}}, NESTED],
            [INDETERMINATE, INDETERMINATE, REFUSED],
        ),
    ],
)
def test_rows_that_are_missing_doubled_or_odd(given: list[Any], expected: list[CancelOutcome]) -> None:
    assert rows(*given) == expected


@pytest.mark.parametrize(
    "body", [{}, {"cancel": "1"}, {"order": "1", "cancel": "1"}, {"1": {"cancel": 1}}, "x", 5, None]
)
def test_an_answer_to_several_that_is_no_list_says_nothing_of_any(body: Any) -> None:
    assert outcomes(ask(["1", "2"], response(body))[0]) == [INDETERMINATE] * 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["1", "2", "x", ""]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["order", "cancel", "error", "1", "2"]), inner)
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from([200, 201, 400, 404, 409]))
def test_an_answer_of_any_shape_gives_a_result_for_each_and_no_false_success(body: Any, status: int) -> None:
    results, _ = ask(["1", "2"], response(body, status))
    assert len(results) == 2
    if any(each.outcome is ACCEPTED for each in results):
        # Under another status only a row of the order's own counts.
        assert status // 100 == 2 or isinstance(body, list)
        assert '"cancel"' in json.dumps(body)


@given(st.text())
def test_what_is_nameable_survives_a_list(id: str) -> None:
    if is_nameable(id):
        assert [each.strip() for each in f"a,{id},b".split(",")] == ["a", id, "b"]


def test_one_bad_row_never_sends_its_neighbors_again() -> None:
    """Whatever status it brings about, and whatever is wrong with it."""
    for status in (200, 207, 400, 404, 422, 500):
        for bad in ({"error": "Order not found"}, {"error": "Internal server error"}, {"cancel": None}, None):
            given = [{"order": 1, "cancel": 1}, {"order": 2, **bad} if bad else None, {"order": 3, "cancel": 3}]
            results, [_] = ask(["1", "2", "3"], response([each for each in given if each], status))
            assert outcomes(results)[::2] == [ACCEPTED, ACCEPTED], (status, bad)
            assert outcomes(results)[1] is not ACCEPTED
            if bad is None or "error" not in bad:
                assert outcomes(results)[1] is INDETERMINATE


# -- Orders that the catalog says cannot be canceled ------------------------------------------

CATALOG = response([{"service": 7, "cancel": True}, {"service": 8, "cancel": False}])


def request_for(id: str, phase: Phase = Phase.IN_PROGRESS, **attributes: Any) -> CancelRequest:
    return CancelRequest(replace(order(id, **attributes), phase=phase), "because")


def test_what_the_catalog_forbids_is_not_sent_and_spoils_nothing() -> None:
    flow_context = context()
    requests = [
        request_for("1", service="8"),
        request_for("2", service="7"),
        request_for("3", Phase.OPEN, service="8"),
        request_for("4"),
    ]
    taken = response([{"order": id, "cancel": id} for id in (2, 3, 4)])
    results, sent = drive(cancel(requests, CONFIG, flow_context), [CATALOG, taken])
    assert [(form(each)["action"], each.repeatable) for each in sent] == [("services", True), ("cancel", False)]
    assert form(sent[1])["orders"] == "2,3,4"
    assert outcomes(results) == [REFUSED, ACCEPTED, ACCEPTED, ACCEPTED]
    assert results[0].facts == Facts(attributes={"service_cancel": False})
    # It is remembered: the next one costs no call at all.
    results, sent = drive(cancel([request_for("5", service="8")], CONFIG, flow_context), [])
    assert (outcomes(results), sent) == ([REFUSED], [])


def test_the_catalog_is_not_asked_for_where_it_does_not_matter() -> None:
    known = [request_for("1", Phase.OPEN, service="8"), request_for("1", Phase.UNKNOWN, service="8"), request_for("1")]
    # Known, and sent all the same: somebody forces it.
    known += [request_for("1", service="8", service_cancel=False), request_for("1", service="7", service_cancel=True)]
    for each in known:
        results, [sent] = drive(cancel([each], CONFIG, context()), [response({"cancel": "1"})])
        assert (outcomes(results), form(sent)["action"]) == ([ACCEPTED], "cancel")


def test_without_a_catalog_the_cancel_is_sent() -> None:
    for nothing in (response("", 500), response([]), response([{"service": 8}])):
        results, _ = drive(
            cancel([request_for("1", service="8")], CONFIG, context()), [nothing, response({"cancel": "1"})]
        )
        assert outcomes(results) == [ACCEPTED]


# -- Answers about the call as a whole; tests/contract has one of each kind ------------------


def test_every_status_has_a_meaning() -> None:
    for status in range(200, 600):
        for body in ("", "<html>", '{"error":"Order not found"}', "{}", "[]"):
            single = one(response(body, status))
            both = ask(["1", "2"], response(body, status))[0]
            assert single.outcome is not ACCEPTED
            assert single.outcome is not CancelOutcome.SUCCEEDED
            assert outcomes(both)[0] is outcomes(both)[1]
            # Of two orders, an error about the call says which one it was about of neither.
            assert both[0].outcome is not REFUSED
            assert single.may_have_applied == both[0].may_have_applied == (status in (500, 503))
            if single.outcome is REFUSED:
                assert both[0].outcome is RETRY


def test_a_rejected_batch_is_tried_again_as_one_that_did_not_apply() -> None:
    results, _ = ask(["1", "2", "3"], response({"error": "Order not found"}, 400))
    assert outcomes(results) == [RETRY] * 3
    assert not any(each.may_have_applied for each in results)
    assert "whole call for 3 orders" in results[0].detail


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("Missing required parameter: key", UNAUTHORIZED),
        ("Missing required parameter: keyword", REFUSED),
        ("Invalid API key", UNAUTHORIZED),
        ("API key is required", UNAUTHORIZED),
        ("The key was revoked, bad key", UNAUTHORIZED),
        ("Account suspended", UNAUTHORIZED),
        ("Your account has been suspended.", UNAUTHORIZED),
        ("Order not found or not of your API key", REFUSED),
        ("Order not found", REFUSED),
        ("Rate limit exceeded", THROTTLED),
        ("Too many requests, slow down", THROTTLED),
        ("Internal server error", RETRY),
        ("Temporarily unavailable", RETRY),
        ("Please try again", RETRY),
        ("Order cannot be cancelled (already completed)", REFUSED),
        ("Service does not support cancellation", REFUSED),
        ("Something new", REFUSED),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 404])
def test_after_the_status_the_text_counts(text: str, outcome: CancelOutcome, status: int) -> None:
    result = one(response({"error": text}, status))
    assert result.outcome is outcome
    assert text.rstrip(".") in result.detail
    assert result.may_have_applied == (outcome is RETRY)
    row, _ = ask(["1", "2"], response([{"order": 1, "error": text}, {"order": 2, "cancel": 2}]))
    # Beside a success the key is good, whatever the row of one order says.
    assert outcomes(row) == [RETRY if outcome is UNAUTHORIZED else outcome, ACCEPTED]
    assert row[0].may_have_applied == (outcome is RETRY)


def test_one_row_pauses_no_account_that_is_served() -> None:
    for text in ("Invalid API key", "Account suspended"):
        both = [{"order": 1, "error": text}, {"order": 2, "error": text}]
        assert outcomes(ask(["1", "2"], response(both))[0]) == [UNAUTHORIZED] * 2
        for served in ({"order": 2, "cancel": 2}, {"order": 2, "error": "Order not found"}):
            results, _ = ask(["1", "2"], response([both[0], served]))
            assert results[0].outcome is RETRY, served
            assert not results[0].may_have_applied
    assert one(response({"error": "Instagram account disabled"}, 400)).outcome is REFUSED


def test_the_status_outranks_the_text() -> None:
    assert one(response({"error": "Order not found"}, 429)).outcome is THROTTLED
    assert one(response({"error": "Order not found"}, 403)).outcome is UNAUTHORIZED
    assert one(response({"error": "Order not found"}, 500)).outcome is RETRY
    assert one(response({"error": "Order not found"}, 502)).outcome is INDETERMINATE


# -- Refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("Order cannot be cancelled (already completed)", Facts(phase=Phase.COMPLETED, provider_status="completed")),
        ("Order cannot be cancelled (already cancelled)", Facts(phase=Phase.CANCELED, provider_status="cancelled")),
        ("Order cannot be cancelled (Already Refunded)", Facts(phase=Phase.CANCELED, provider_status="Refunded")),
        ("Order cannot be cancelled (already in progress)", None),
        ("Order cannot be cancelled (already odd)", None),
        ("Order cannot be cancelled (already )", None),
        ("Order cannot be cancelled already completed", None),
        (
            "Service does not support cancellation",
            Facts(phase=Phase.IN_PROGRESS, attributes={"service_cancel": False}),
        ),
        ("Order not found", None),
    ],
)
def test_a_refusal_tells_of_the_order_besides(text: str, facts: Facts | None) -> None:
    result = one(response({"error": text}, 400))
    assert (result.outcome, result.facts) == (REFUSED, facts)
    [row, _], _ = ask(["1", "2"], response([{"order": 1, "error": text}]))
    assert (row.outcome, row.facts) == (REFUSED, facts)


@pytest.mark.parametrize(
    "text", ["Cancellation already requested", "CANCEL REQUEST PENDING", "already queued upstream"]
)
def test_a_cancel_that_is_queued_already_is_no_refusal(text: str) -> None:
    assert one(response({"error": text}, 400)).outcome is ACCEPTED
    assert rows({"order": 1, "error": text})[0] is ACCEPTED
    none = Config.model_validate({"key": KEY, "queued_texts": []})
    assert one(response({"error": text}, 400), none).outcome is REFUSED


def test_a_detail_is_one_short_line_without_the_key() -> None:
    said = f"bad\n\0{'x' * 280}{KEY}{'y' * 5000}"
    for answer in (response({"error": said}, 400), response([{"order": "ord_1", "error": said}])):
        detail = one(answer).detail
        assert detail.isprintable()
        assert len(detail) < 400
        assert KEY[:4] not in detail
