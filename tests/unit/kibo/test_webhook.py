from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.kibo.support import CONFIG, ENTITY, EVENT, observe, read, thin

from app.contract import Cancelable, Facts, Ignored, MalformedPayload, Order, ParsedEvent, Phase, Source, Unrecognized
from app.core.event import Event, to_event
from app.core.order import fold
from app.core.verdict import judge
from handlers.kibo import HANDLER
from handlers.kibo.config import Config
from handlers.kibo.payload import order_id_of
from handlers.kibo.rules import Rules
from handlers.kibo.words import EVENT_TOPICS, FULFILLMENT_STATUSES, ORDER_STATUSES, SILENT_TOPICS

NOW = datetime(2026, 3, 2, 17, tzinfo=UTC)


def test_the_documented_words() -> None:
    deciding = {topic: phase for topic, phase in EVENT_TOPICS.items() if phase is not Phase.UNKNOWN}
    assert deciding == {
        "order.cancelled": Phase.CANCELED,
        "order.closed": Phase.COMPLETED,
        "order.fulfilled": Phase.COMPLETED,
    }
    assert {word for word, phase in ORDER_STATUSES.items() if phase is Phase.OPEN} == {
        *("Pending", "Submitted", "Validated", "Pending Review", "Accepted", "READY"),
    }
    assert not set(EVENT_TOPICS) & SILENT_TOPICS
    assert not set(ORDER_STATUSES) & set(FULFILLMENT_STATUSES)


@pytest.mark.parametrize(("topic", "phase"), list(EVENT_TOPICS.items()))
def test_a_topic_tells_what_it_tells_of_its_order(topic: str, phase: Phase) -> None:
    seen = observe(thin(topic))
    assert (seen.order, seen.facts.phase, seen.facts.provider_status) == (ENTITY, phase, None)
    assert seen.occurred_at == datetime(2026, 3, 2, 16, 4, 5, 250_000, UTC)
    assert not seen.facts.snapshot


@pytest.mark.parametrize(
    ("topic", "type"),
    [
        ("order.opened", "order.created"),
        ("order.cancelled", "order.canceled"),
        ("order.updated", "order.updated"),
        ("order.fulfilled", "order.fulfilled"),
        ("shipment.statuschanged", "shipment.statuschanged"),
    ],
)
def test_an_event_s_type_is_in_our_words_where_we_have_one(topic: str, type: str) -> None:
    assert observe(thin(topic)).type == type


@pytest.mark.parametrize("topic", [*sorted(SILENT_TOPICS), "return.opened", "return.closed", "return.anything"])
def test_some_topics_say_nothing_of_how_an_order_stands(topic: str) -> None:
    seen = observe(thin(topic))
    assert (seen.order, seen.type, seen.facts.phase) == (ENTITY, topic, None)


@pytest.mark.parametrize("topic", ["payment.refunded", "return.opened"])
def test_what_names_no_order_is_ignored(topic: str) -> None:
    assert isinstance(read(thin(topic, extendedProperties=[])), Ignored)


# -- One event is one event ------------------------------------------------------------------


@pytest.mark.parametrize("event_id", [EVENT.replace("-", ""), EVENT.upper(), f" {EVENT} "])
def test_an_event_s_id_is_the_same_with_and_without_dashes(event_id: str) -> None:
    first, again = observe(thin("order.opened")), observe(thin("order.opened", eventId=event_id))
    assert first.key == again.key
    assert ids(first) == ids(again)


def test_another_event_has_another_key() -> None:
    other = EVENT.replace("a", "b")
    assert observe(thin("order.opened")).key != observe(thin("order.opened", eventId=other)).key


@pytest.mark.parametrize("event_id", [None, "", " ", 7, []])
def test_without_an_id_the_body_is_the_key(event_id: Any) -> None:
    first, again = (observe(thin("order.opened", eventId=event_id)) for _ in range(2))
    later = observe(thin("order.opened", eventId=event_id, correlationId="another"))
    assert ids(first) == ids(again) != ids(later)


def ids(seen: ParsedEvent) -> str:
    return to_event(seen, "a", NOW, Source.WEBHOOK, None).id


# -- What stands where -----------------------------------------------------------------------


@pytest.mark.parametrize("key", ["orderId", "orderid", "ORDERID", "OrderID"])
@pytest.mark.parametrize("value", ["1010101", 1010101])
def test_a_shipment_names_its_order_in_any_case(key: str, value: Any) -> None:
    seen = observe(thin("shipment.statuschanged", extendedProperties=[{"key": key, "value": value}]))
    # It is the entityId, as in an order's own event: were it taken for the orderID, another order might be canceled.
    assert seen.order == "entity:1010101"


@pytest.mark.parametrize("value", [1, "1010101", 10**18 - 1])
def test_an_entity_id_that_is_a_number_is_no_order_id(value: Any) -> None:
    name = observe(thin("order.opened", entityId=value)).order
    assert name == f"entity:{value}"
    assert order_id_of(Order("a", name)) is None


@pytest.mark.parametrize(("new", "old"), [("newState", "oldState"), ("newstate", "OLDSTATE")])
def test_where_a_shipment_went_is_kept(new: str, old: str) -> None:
    properties = [
        {"key": "orderId", "value": ENTITY},
        {"key": new, "value": "REJECTED"},
        {"key": old, "value": "ACCEPT_SHIPMENT"},
        {"key": "customerEmail", "value": "robin@example.com"},
    ]
    seen = observe(thin("shipment.workflowstatechanged", extendedProperties=properties))
    wanted = {"entityId": "1024", "newState": "REJECTED", "oldState": "ACCEPT_SHIPMENT"}
    assert seen.facts.attributes == {"shipment": wanted}


@pytest.mark.parametrize(
    "properties",
    [
        None,
        "x",
        {"orderId": ENTITY},
        [],
        [None, 1, "x", [], {}],
        [{"key": 1, "value": ENTITY}],
        [{"key": "orderId"}],
        [{"key": "orderId", "value": ""}],
        [{"key": "orderId", "value": " "}],
        [{"key": "orderId", "value": "x" * 201}],
        [{"key": "orderId", "value": 1.5}],
        [{"key": "orderId", "value": True}],
    ],
)
def test_a_shipment_without_its_order_goes_to_quarantine(properties: Any) -> None:
    with pytest.raises(MalformedPayload, match="orderId"):
        read(thin("shipment.statuschanged", extendedProperties=properties))


@pytest.mark.parametrize("entity", [None, "", " ", "x" * 201, 1.5, {}, "a\nb"])
def test_an_order_without_a_name_goes_to_quarantine(entity: Any) -> None:
    with pytest.raises(MalformedPayload, match="entityId"):
        read(thin("order.opened", entityId=entity))


@pytest.mark.parametrize("topic", [None, "", " ", 7, ["order.opened"]])
def test_a_body_without_a_topic_goes_to_quarantine(topic: Any) -> None:
    with pytest.raises(MalformedPayload, match="topic"):
        read({**thin("order.opened"), "topic": topic})


@pytest.mark.parametrize("time", ["yesterday", "", {}, True, "2026-13-02T00:00:00Z"])
def test_a_time_that_is_none_goes_to_quarantine(time: Any) -> None:
    with pytest.raises(MalformedPayload, match="timestamp"):
        read(thin("order.opened", timestamp=time))


@given(st.datetimes(datetime(1971, 1, 1), datetime(9999, 12, 30)), st.sampled_from(["Z", "+00:00", ""]))  # noqa: DTZ001
def test_times_have_seven_digits_after_the_point(at: datetime, offset: str) -> None:
    seen = observe(thin("order.opened", timestamp=f"{at.isoformat(timespec='microseconds')}9{offset}"))
    assert seen.occurred_at == at.replace(tzinfo=UTC if offset else None)


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"\xff", b'{"topic": 1', "{}".encode("utf-16")])
def test_a_body_that_is_no_object_says_so(raw: bytes) -> None:
    with pytest.raises(MalformedPayload, match="body"):
        read(raw)


# -- What is not ours ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topic", ["order.refulfilled", "shipment.created", "payment.captured", "wishlist.created", "order"]
)
def test_an_unknown_topic_goes_to_quarantine_and_says_what_to_set(topic: str) -> None:
    parsed = read(thin(topic, extendedProperties=[]))
    assert isinstance(parsed, Unrecognized)
    assert topic in parsed.reason
    assert "probed_topics" in parsed.reason


def test_a_long_topic_is_cut() -> None:
    parsed = read(thin("order." + "x" * 5000))
    assert isinstance(parsed, Unrecognized)
    assert len(parsed.reason) < 300


def test_the_account_adds_topics() -> None:
    config = Config.model_validate({"tenant": "1", "probed_topics": ["shipment.created", "order.refulfilled"]})
    assert observe(thin("shipment.created"), config).facts.phase is Phase.UNKNOWN
    assert observe(thin("order.refulfilled"), config).order == ENTITY
    config = Config.model_validate({"tenant": "1", "ignored_families": ["wishlist"]})
    assert isinstance(read(thin("wishlist.created"), config), Ignored)
    assert isinstance(read(thin("product.created"), config), Unrecognized)


def test_no_setting_makes_an_order_s_event_unheard() -> None:
    config = Config.model_validate({"tenant": "1", "ignored_families": ["order", "shipment"]})
    assert observe(thin("order.fulfilled"), config).facts.phase is Phase.COMPLETED


@pytest.mark.parametrize("topic", ["product.created", "productinventory.updated", "customeraccount.created"])
def test_what_is_not_about_orders_is_ignored(topic: str) -> None:
    assert isinstance(read(thin(topic)), Ignored)


@pytest.mark.parametrize(
    ("tenant", "ours"),
    [("10001", True), ("t10001", True), (" T10001 ", True), ("10002", False), ("", True), ("100010", False)],
)
def test_another_tenant_s_events_are_ignored(tenant: str, ours: bool) -> None:
    parsed = read(thin("order.opened"), CONFIG, {"X-Vol-Tenant": tenant})
    assert isinstance(parsed, Ignored) is not ours


def test_a_tenant_s_name_may_begin_with_any_letter() -> None:
    config = Config.model_validate({"tenant": "toys"})
    assert isinstance(read(thin("order.opened"), config, {"x-vol-tenant": "oys"}), Ignored)
    assert not isinstance(read(thin("order.opened"), config, {"x-vol-tenant": "Toys"}), Ignored)


def test_test_events_count_unless_the_account_says_otherwise() -> None:
    test = thin("order.fulfilled", isTest=True)
    assert observe(test).facts == Facts(phase=Phase.COMPLETED, attributes={"isTest": True})
    ignoring = Config.model_validate({"tenant": "10001", "accept_test_events": False})
    assert isinstance(read(test, ignoring), Ignored)
    assert observe(thin("order.fulfilled"), ignoring).facts.attributes == {}
    # What is no boolean is no test.
    assert observe(thin("order.fulfilled", isTest="true"), ignoring).facts.attributes == {}


# -- Topics out of order ---------------------------------------------------------------------


def at(minute: int, topic: str, **more: Any) -> Event:
    """A webhook of that minute, received whenever."""
    event_id = f"{minute:032x}"
    seen = observe(thin(topic, eventId=event_id, timestamp=f"2026-03-02T16:{minute:02}:00.0000000Z", **more))
    return to_event(seen, "a", NOW, Source.WEBHOOK, None)


def snapshot(minute: int, phase: Phase, status: str) -> Event:
    """What Kibo answered in that minute."""
    facts = Facts(phase=phase, provider_status=status, snapshot=True)
    seen = ParsedEvent(ENTITY, "order.probed", str(minute).encode(), facts, NOW.replace(hour=16, minute=minute))
    return to_event(seen, "a", NOW + timedelta(minutes=1), Source.PROVIDER, None)


def verdicts(*events: Event) -> set[tuple[Phase, Cancelable, str]]:
    """Phase and verdict after these events, in every order in which they may arrive."""
    found = set()
    for arrival in itertools.permutations(events):
        order: Order = fold("a", ENTITY, arrival)[0]
        verdict = judge(HANDLER, Rules(), order, NOW)
        found.add((order.phase, verdict.cancelable, verdict.reason))
    return found


def test_topics_may_overtake_each_other() -> None:
    opened, moved, fulfilled = at(1, "order.opened"), at(2, "shipment.statuschanged"), at(3, "order.fulfilled")
    assert verdicts(opened, moved) == {(Phase.UNKNOWN, Cancelable.UNKNOWN, "status_unclear")}
    assert verdicts(opened, moved, fulfilled) == {(Phase.COMPLETED, Cancelable.NO, "completed")}
    canceled = at(4, "order.cancelled")
    assert verdicts(opened, moved, canceled) == {(Phase.CANCELED, Cancelable.NO, "already_canceled")}


def test_a_snapshot_settles_what_was_before_it_and_nothing_that_was_after() -> None:
    opened, asked = at(1, "order.opened"), snapshot(5, Phase.OPEN, "Accepted")
    late, racing = at(2, "shipment.workflowstatechanged"), at(4, "shipment.workflowstatechanged")
    assert verdicts(opened, asked) == {(Phase.OPEN, Cancelable.YES, "status_cancelable")}
    assert verdicts(opened, late, asked) == {(Phase.OPEN, Cancelable.YES, "status_cancelable")}
    # It came in after Kibo was asked, and Kibo's clock may be behind: it is asked again.
    assert verdicts(opened, racing, asked) == {(Phase.UNKNOWN, Cancelable.UNKNOWN, "status_unclear")}
    since = at(6, "order.updated")
    assert verdicts(opened, asked, since) == {(Phase.UNKNOWN, Cancelable.UNKNOWN, "status_unclear")}
    assert verdicts(opened, asked, since, snapshot(7, Phase.IN_PROGRESS, "Processing")) == {
        (Phase.IN_PROGRESS, Cancelable.UNKNOWN, "status_unclear")
    }


def test_a_silent_topic_moves_nothing() -> None:
    opened, asked = at(1, "order.opened"), snapshot(5, Phase.OPEN, "Accepted")
    moved, refunded = at(6, "order.addresschanged"), at(7, "payment.refunded")
    assert verdicts(opened, asked, moved, refunded) == {(Phase.OPEN, Cancelable.YES, "status_cancelable")}


def test_what_comes_after_the_end_reopens_nothing() -> None:
    canceled, saved = at(2, "order.cancelled"), at(3, "order.saved")
    assert verdicts(at(1, "order.opened"), canceled, saved) == {(Phase.CANCELED, Cancelable.NO, "already_canceled")}
