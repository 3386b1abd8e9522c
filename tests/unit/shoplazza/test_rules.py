from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from unit.shoplazza.support import observe, order

from app.contract import Cancelable, InvalidCancel, Order, Phase, Source, Verdict
from app.core.event import to_event
from app.core.order import fold
from handlers.shoplazza.rules import (
    DELETED,
    FULFILLMENT_NOT_CANCELABLE,
    NOT_SHIPPED,
    PARTIALLY_FULFILLED,
    PAYMENT_NOT_CANCELABLE,
    STATUS_NOT_CANCELABLE,
    STATUS_UNCLEAR,
    Rules,
    check,
    verdict,
)
from handlers.shoplazza.words import FINANCIAL_STATUSES, FULFILLMENT_STATUSES

NOW = datetime(2026, 3, 2, 17, tzinfo=UTC)
YES, NO, UNKNOWN = Cancelable.YES, Cancelable.NO, Cancelable.UNKNOWN
AT = "2026-03-02T16:00:00Z"


def judged(rules: Rules | None = None, topic: str = "orders/update", **more: Any) -> Verdict:
    event = to_event(observe({"order": order(**more)}, topic), "a", NOW, Source.WEBHOOK, None)
    state, _ = fold("a", event.order, [event])
    found = verdict(state, rules or Rules(), NOW)
    assert found.evidence == (event.id,)
    assert found.changes_at is None
    return found


BY_FULFILLMENT = {
    "initialled": (YES, NOT_SHIPPED),
    "waiting": (YES, NOT_SHIPPED),
    "cancelled": (YES, NOT_SHIPPED),
    "partially_shipped": (UNKNOWN, PARTIALLY_FULFILLED),
    "partially_finished": (UNKNOWN, PARTIALLY_FULFILLED),
    "shipped": (NO, FULFILLMENT_NOT_CANCELABLE),
    "finished": (NO, FULFILLMENT_NOT_CANCELABLE),
    "returning": (NO, FULFILLMENT_NOT_CANCELABLE),
    "partially_returned": (NO, FULFILLMENT_NOT_CANCELABLE),
    "returned": (NO, FULFILLMENT_NOT_CANCELABLE),
    "never heard of": (UNKNOWN, STATUS_UNCLEAR),
}


@pytest.mark.parametrize(("fulfillment", "wanted"), BY_FULFILLMENT.items())
@pytest.mark.parametrize("status", ["opened", "placed"])
def test_what_has_left_cannot_be_canceled(status: str, fulfillment: str, wanted: tuple[Cancelable, str]) -> None:
    found = judged(status=status, fulfillment_status=fulfillment)
    assert (found.cancelable, found.reason) == wanted


def test_every_fulfillment_status_has_a_verdict() -> None:
    assert set(FULFILLMENT_STATUSES) < set(BY_FULFILLMENT)


@pytest.mark.parametrize("payment", FINANCIAL_STATUSES)
def test_no_payment_is_in_the_way_by_default(payment: str) -> None:
    assert judged(financial_status=payment).cancelable is YES
    found = judged(Rules(not_cancelable_financial_statuses=(payment,)), financial_status=payment)
    assert (found.cancelable, found.reason) == (NO, PAYMENT_NOT_CANCELABLE)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"status": "cancelled"}, "already_canceled"),
        ({"status": "canceled"}, "already_canceled"),
        ({"canceled_at": AT}, "already_canceled"),
        ({"status": "finished", "cancel_reason": "Out of stock"}, "already_canceled"),
        ({"status": "finished"}, "completed"),
        ({"deleted_at": AT}, DELETED),
    ],
)
def test_what_is_over_cannot_be_canceled_whatever_the_rules(more: dict[str, Any], reason: str) -> None:
    lax = Rules(not_cancelable_fulfillment_statuses=(), unclear_fulfillment_statuses=())
    for rules in (Rules(), lax):
        found = judged(rules, **more)
        assert (found.cancelable, found.reason) == (NO, reason)


def test_a_deletion_that_shows_nothing_is_over_too() -> None:
    found = judged(topic="orders/delete")
    assert (found.cancelable, found.reason) == (NO, "completed")
    assert "deleted" in found.explanation


def test_the_account_s_lists_outrank_the_defaults() -> None:
    shipped = {"fulfillment_status": "shipped"}
    partly = {"fulfillment_status": "partially_shipped"}
    assert judged(Rules(not_cancelable_fulfillment_statuses=()), **shipped).cancelable is YES
    assert judged(Rules(unclear_fulfillment_statuses=()), **partly).cancelable is YES
    assert judged(Rules(not_cancelable_fulfillment_statuses=("partially_shipped",)), **partly).cancelable is NO
    assert judged(Rules(unclear_fulfillment_statuses=("waiting",))).cancelable is UNKNOWN
    found = judged(Rules(not_cancelable_statuses=("opened",)), status="opened")
    assert (found.cancelable, found.reason) == (NO, STATUS_NOT_CANCELABLE)
    assert judged(Rules(not_cancelable_statuses=("opened",))).cancelable is YES


@pytest.mark.parametrize(
    ("rules", "more"),
    [
        (Rules(not_cancelable_fulfillment_statuses=("locked",)), {"fulfillment_status": "locked"}),
        (Rules(not_cancelable_statuses=("confirmed",)), {"status": "confirmed"}),
        (Rules(), {"status": "confirmed", "fulfillment_status": "shipped"}),
    ],
)
def test_a_new_word_can_be_listed(rules: Rules, more: dict[str, Any]) -> None:
    assert judged(rules, **more).cancelable is NO
    if rules != Rules():
        assert judged(Rules(), **more).cancelable is UNKNOWN


def test_an_event_in_doubt_is_not_judged_by_what_was_known_before() -> None:
    told = [("orders/fulfilled", order(fulfillment_status="shipped")), ("orders/update", {"id": order()["id"]})]
    events = [to_event(observe({"order": body}, topic), "a", NOW, Source.WEBHOOK, None) for topic, body in told]
    state, _ = fold("a", events[0].order, events)
    found = verdict(state, Rules(), NOW)
    assert (found.cancelable, found.reason) == (UNKNOWN, STATUS_UNCLEAR)


@pytest.mark.parametrize(
    ("topic", "more"),
    [
        ("orders/cancelled", {}),
        ("orders/finished", {}),
        ("orders/fulfilled", {}),
        ("orders/update", {"cancel_reason": "Out of stock"}),
        ("orders/update", {"status": None, "fulfillment_status": None}),
    ],
)
def test_a_contradiction_is_no_no(topic: str, more: dict[str, Any]) -> None:
    found = judged(topic=topic, **more)
    assert (found.cancelable, found.reason) == (UNKNOWN, STATUS_UNCLEAR)


def test_an_attribute_that_is_no_word_changes_nothing() -> None:
    for phase, value in itertools.product(Phase, (None, 1, [], {"a": 1}, "")):
        state = Order(
            "a", "1", phase=phase, attributes={"fulfillment_status": value, "financial_status": value}, version=1
        )
        found = verdict(state, Rules(), NOW)
        assert found.cancelable is {Phase.OPEN: YES, Phase.CANCELED: NO, Phase.COMPLETED: NO}.get(phase, UNKNOWN)


# -- The arguments of a cancel ---------------------------------------------------------------


@pytest.mark.parametrize("reason", ["Customer changed their mind", "", "买家申请", "x" * 255, "two\nlines"])
@pytest.mark.parametrize("note", [None, "", "  "])
def test_any_text_is_a_reason(reason: str, note: str | None) -> None:
    check(reason, note, Rules())


@pytest.mark.parametrize(
    ("reason", "note", "field", "says"),
    [
        ("x", "They called.", "note", "in the reason"),
        ("x" * 256, None, "reason", "256"),
        ("a\0b", None, "reason", "NUL"),
        ("a\ud800b", None, "reason", "surrogate"),
        ("ab\udfff", None, "reason", "surrogate"),
    ],
)
def test_what_cannot_be_carried_is_said_before_anything_is_sent(
    reason: str, note: str | None, field: str, says: str
) -> None:
    with pytest.raises(InvalidCancel, match=says) as caught:
        check(reason, note, Rules())
    assert caught.value.field == field


def test_the_length_of_a_reason_is_the_account_s_to_set() -> None:
    check("x" * 300, None, Rules(reason_chars_max=300))
    with pytest.raises(InvalidCancel, match="301"):
        check("x" * 301, None, Rules(reason_chars_max=300))
