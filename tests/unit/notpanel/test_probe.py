from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.notpanel.support import CONFIG, KEY, NOW, context, converse, drive, form, look, order, response

from app.contract import CancelOutcome, Context, Facts, HttpRequest, HttpResponse, Phase, ProbeUnavailable
from handlers.notpanel.catalog import AGAIN_AFTER_S, flags_in
from handlers.notpanel.config import Config
from handlers.notpanel.probe import probe
from handlers.notpanel.simulator import NotPanel

REFUSED, RETRY = CancelOutcome.REFUSED, CancelOutcome.RETRY
STATUS = {"status": "in_progress", "charge": "0.50", "start_count": "1234", "remains": "650", "currency": "USD"}
CATALOG = [{"service": 7, "cancel": True}, {"service": "8", "cancel": False}, {"service": 9}]


class Recorder(NotPanel):
    """Remembers what it was asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.actions: list[str] = []

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        self.actions.append(form(request)["action"])
        return super().handle(request, now)


def flag(found: Facts | ProbeUnavailable) -> Any:
    """The service's flag, or `unstated` where nothing is said of it."""
    assert isinstance(found, Facts)
    return found.attributes.get("service_cancel", "unstated")


def outcome(found: Facts | ProbeUnavailable) -> CancelOutcome:
    assert isinstance(found, ProbeUnavailable), found
    assert str(found).endswith(".")
    return found.outcome


# -- The status ------------------------------------------------------------------------------


def test_one_order_is_asked_for_by_order() -> None:
    [found], [request] = look(["ord_1"], response(STATUS))
    assert form(request) == {"key": KEY, "action": "status", "order": "ord_1"}
    assert (request.method, request.url, request.repeatable) == ("POST", "https://notpanel.com/api/v2", True)
    assert found == Facts(
        phase=Phase.IN_PROGRESS,
        provider_status="in_progress",
        attributes={"charge": "0.50", "start_count": "1234", "remains": "650", "currency": "USD"},
        snapshot=True,
    )


def test_several_orders_are_one_call_and_each_has_its_own_answer() -> None:
    body = {"2": {"error": "Incorrect order ID"}, "ord_1": STATUS, "3": {"status": "Canceled"}, "9": STATUS}
    found, [request] = look(["ord_1", "2", "3", "4"], response(body))
    assert form(request) == {"key": KEY, "action": "status", "orders": "ord_1,2,3,4"}
    assert isinstance(found[0], Facts)
    assert outcome(found[1]) is REFUSED
    assert isinstance(found[2], Facts)
    assert found[2].phase is Phase.CANCELED
    assert outcome(found[3]) is RETRY


@pytest.mark.parametrize("id", ["1,2", " 1", ""])
def test_an_id_that_no_list_can_hold_is_not_asked_for(id: str) -> None:
    found, [request] = look(["1", id], response(STATUS))
    assert form(request)["order"] == "1"
    assert isinstance(found[0], Facts)
    assert outcome(found[1]) is REFUSED
    assert look([id])[1] == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("Order not found", REFUSED),
        ("Incorrect order ID", REFUSED),
        ("Invalid order id", REFUSED),
        ("Service not found", RETRY),
        ("Something new", RETRY),
        ("Rate limit exceeded", CancelOutcome.THROTTLED),
        ("Invalid API key", CancelOutcome.UNAUTHORIZED),
    ],
)
def test_an_error_about_one_order(error: str, expected: CancelOutcome) -> None:
    [alone], _ = look(["1"], response({"error": error}, 400))
    assert outcome(alone) is expected
    [alone], _ = look(["1"], response({"error": error}))
    assert outcome(alone) is expected
    found, _ = look(["1", "2"], response({"1": {"error": error}, "2": STATUS}))
    assert outcome(found[0]) is expected
    assert isinstance(found[1], Facts)


def test_an_error_about_a_whole_call_says_of_no_order_that_it_is_unknown() -> None:
    found, _ = look(["1", "2"], response({"error": "Order not found"}, 400))
    assert [outcome(each) for each in found] == [RETRY, RETRY]


def test_no_status_without_a_readable_body_gives_facts() -> None:
    for status in range(200, 600):
        for body in ("", "<html>", "[]", "{}", '{"status":null}', '{"1":5}'):
            found, _ = look(["1"], response(body, status))
            assert isinstance(found[0], ProbeUnavailable)
            # Only NotPanel's own words may end the asking.
            assert found[0].outcome is not REFUSED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(["pending", "1", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["1", "2", "status", "error", "order", "charge", "service"]), inner)
    ),
    max_leaves=12,
)


@given(json_values, json_values)
def test_an_answer_of_any_shape_gives_a_result_for_each(body: Any, catalog: Any) -> None:
    for orders in (["1"], ["1", "2"]):
        flow = probe([order(each) for each in orders], CONFIG, context())
        next(flow)
        found = None
        try:
            flow.send(response(body))
            with suppress(StopIteration):
                flow.send(response(catalog))
        except StopIteration as end:
            found = end.value
        if found is not None:
            assert len(found) == len(orders)


# -- The catalog -----------------------------------------------------------------------------


def test_the_flag_is_looked_up_for_orders_that_name_their_service() -> None:
    body = {"1": STATUS, "2": {**STATUS, "service": 8}, "3": STATUS, "4": {**STATUS, "service": 10}, "5": STATUS}
    orders = [order("1", service="7"), order("2", service="7"), order("3"), order("4"), order("5", service=9)]
    found, [_, asked] = look(orders, response(body), response(CATALOG))
    assert form(asked) == {"key": KEY, "action": "services"}
    assert asked.repeatable
    # Of a service that is not listed, or has no flag, what was once known is no longer known.
    assert [flag(each) for each in found] == [True, False, "unstated", None, None]


def test_the_catalog_is_asked_for_once_per_ttl_not_once_per_probe() -> None:
    flow_context = context()
    config = Config.model_validate({"key": KEY, "catalog_ttl_s": 600})

    def asked(after_s: float) -> list[str]:
        later = Context(NOW + timedelta(seconds=after_s), memory=flow_context.memory)
        known = Recorder(show_service=True)
        known.act({"do": "create_order", "order_id": "1"}, 0)
        [found] = converse(probe([order("1")], config, later), known, 0)
        assert flag(found) is True
        return known.actions

    assert asked(0) == ["status", "services"]
    assert asked(1) == asked(599) == ["status"]
    assert asked(600) == ["status", "services"]
    assert asked(601) == ["status"]


@pytest.mark.parametrize("status", ["completed", "canceled", "refunded", "partial"])
def test_no_flag_is_wanted_of_an_order_that_is_over(status: str) -> None:
    found, asked = look([order("1", service="7")], response({"status": status}))
    assert len(asked) == 1
    assert flag(found[0]) == "unstated"


def test_no_flag_is_wanted_where_the_status_could_not_be_had() -> None:
    assert len(look([order("1", service="7")], response("", 500))[1]) == 1
    assert len(look([order("1,2", service="7")])[1]) == 0


@pytest.mark.parametrize(
    "answer",
    [
        response({"error": "Internal server error"}, 500),
        response({"error": "Account suspended"}, 403),
        response("<html>"),
        response([]),
        response({"services": []}),
        response([{"service": 7}, 5, {"cancel": True}]),
    ],
)
def test_without_a_catalog_the_status_counts_all_the_same_and_it_is_not_asked_again_at_once(answer: Any) -> None:
    flow_context = context()
    known = order("1", service="7", service_cancel=True)
    [found], asked = look([known], response(STATUS), answer, flow_context=flow_context)
    assert len(asked) == 2
    # Nothing is said of the flag: what was known of it stays.
    assert flag(found) == "unstated"
    again = Context(NOW + timedelta(seconds=AGAIN_AFTER_S - 1), memory=flow_context.memory)
    assert len(look([known], response(STATUS), flow_context=again)[1]) == 1
    later = Context(NOW + timedelta(seconds=AGAIN_AFTER_S), memory=flow_context.memory)
    [found], _ = look([known], response(STATUS), response(CATALOG), flow_context=later)
    assert flag(found) is True


def test_a_catalog_whose_answer_is_lost_or_too_large_does_not_stop_the_next_probe() -> None:
    flow_context = context()
    flow = probe([order("1", service="7")], CONFIG, flow_context)
    next(flow)
    assert form(flow.send(response(STATUS)))["action"] == "services"
    flow.close()  # as it is when the call fails
    [found], asked = look([order("1", service="7")], response(STATUS), flow_context=flow_context)
    assert isinstance(found, Facts)
    assert len(asked) == 1


def test_a_throttled_catalog_holds_the_account() -> None:
    flow_context = context()
    look([order("1", service="7")], response(STATUS), response({"error": "x"}, 429), flow_context=flow_context)
    assert flow_context.hold_s == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, True), (False, False), (1, True), (0, False), ("1", True), ("true", True), ("False", False)],
)
def test_a_flag_in_any_spelling(value: Any, expected: bool) -> None:
    assert flags_in([{"service": 7, "cancel": value}]) == {"7": expected}


@pytest.mark.parametrize("value", [None, "", "maybe", 2, -1, [], {}])
def test_a_flag_that_is_none_is_not_known(value: Any) -> None:
    assert flags_in([{"service": 7, "cancel": value}]) == {}


def test_a_probe_of_nothing_is_no_call() -> None:
    assert drive(probe([], CONFIG, context()), []) == ([], [])
