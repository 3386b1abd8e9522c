"""The policies in deploy/policies, on orders made of the providers' fixtures: each acts when it must, and only then."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from unit.policies.support import T0, Scene, h

from app.contract import Cancelable
from app.core.cancellation import Cancellation, Waiting
from app.core.policy.model import Mode

SECOND = timedelta(seconds=1)


def iso(moment: datetime) -> str:
    return moment.isoformat()


# -- duplicates: PlanOmatic -----------------------------------------------------------------------


def place(scene: Scene, now: datetime, number: int, fixture: str = "v3_order_processed", **more: Any) -> str:
    """An order is placed, the same as any other but for its ids."""
    ids = {"order_id": number, "request_id": number + 1000, "external_order_id": f"external-{number}"}
    return scene.hear(now, fixture, **{"occurred_at": iso(now), **ids, **more})


def test_of_two_the_first_stays() -> None:
    scene = Scene("duplicates")
    first, second = place(scene, T0, 1), place(scene, h(1), 2)
    scene.pass_time(h(1.25) - SECOND)
    assert scene.outcome(second) == "waiting"
    scene.pass_time(h(100))
    assert scene.acted_at(second) == h(1.25)
    assert scene.acted_at(first) is None


def test_of_three_the_first_stays() -> None:
    scene = Scene("duplicates", mode=Mode.ENFORCE)
    orders = [place(scene, h(number), number + 1) for number in range(3)]
    scene.pass_time(h(100))
    assert [scene.acted_at(each) for each in orders] == [None, h(1.25), h(2.25)]
    [canceling] = scene.units[orders[1]].aggregate.live
    assert (canceling.reason, canceling.policy) == ("duplicate_order", "duplicates")


def test_the_first_is_the_one_that_was_opened_first_and_not_the_one_heard_of_first() -> None:
    scene = Scene("duplicates")
    later = place(scene, h(1), 2)
    earlier = place(scene, h(1.1), 1, occurred_at=iso(T0))
    scene.pass_time(h(100))
    # The other has become one of two only when the earlier one was heard of.
    assert scene.acted_at(later) == h(1.35)
    assert scene.acted_at(earlier) is None


def test_the_replacement_of_a_canceled_order_is_no_duplicate() -> None:
    scene = Scene("duplicates")
    place(scene, T0, 1)
    place(scene, h(0.5), 1, "v3_canceled")
    second = place(scene, h(1), 2)
    scene.pass_time(h(100))
    assert (scene.outcome(second), scene.acted_at(second)) == ("unmatched", None)


def test_nor_is_one_whose_first_is_canceled_in_time() -> None:
    scene = Scene("duplicates")
    place(scene, T0, 1)
    second = place(scene, h(1), 2)
    place(scene, h(1.2), 1, "v3_canceled")
    scene.pass_time(h(100))
    assert (scene.outcome(second), scene.acted_at(second)) == ("unmatched", None)


@pytest.mark.parametrize(
    ("after_h", "more"),
    [
        (1, {"external_property_id": "property-2"}),
        (1, {"services": [{"slug": "floorplan", "quantity": 1}]}),
        (24.1, {}),
    ],
)
def test_another_order_is_no_duplicate(after_h: float, more: dict[str, Any]) -> None:
    scene = Scene("duplicates")
    orders = [place(scene, T0, 1), place(scene, h(after_h), 2, **more)]
    scene.pass_time(h(100))
    assert [scene.acted_at(each) for each in orders] == [None, None]


def test_nor_is_one_whose_first_is_being_canceled() -> None:
    scene = Scene("duplicates", mode=Mode.ENFORCE)
    first = place(scene, T0, 1)
    cancellation = Cancellation("can-by-hand", scene.account.id, first, "duplicate_order", h(0.9), h(0.9))
    scene.request_cancel(h(0.9), cancellation)
    second = place(scene, h(1), 2)
    scene.pass_time(h(100))
    assert (scene.outcome(second), scene.acted_at(second)) == ("unmatched", None)


def test_a_duplicate_that_is_meant_stays() -> None:
    scene = Scene("duplicates")
    place(scene, T0, 1)
    second = place(scene, h(1), 2)
    scene.tag(h(1.1), second, "keep")
    scene.pass_time(h(100))
    assert scene.acted_at(second) is None


def test_a_duplicate_that_is_scheduled_is_told_of_and_left_alone() -> None:
    scene = Scene("duplicates")
    place(scene, T0, 1)
    second = place(scene, h(1), 2)
    place(scene, h(1.1), 2, "v3_appointment_scheduled")
    scene.pass_time(h(100))
    assert (scene.outcome(second), scene.acted_at(second)) == ("refrained", None)


# -- unscheduled: PlanOmatic ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fixture", "more"),
    [
        ("v3_order_processed", {}),
        ("v3_awaiting_availability", {}),
        ("v2_ordered", {"request_datetime": iso(T0)}),
        # An appointment without a time is none yet.
        ("v2_ordered", {"request_datetime": iso(T0), "appointments": [{"start_datetime": None}]}),
    ],
)
def test_an_order_without_an_appointment_goes_after_two_days(fixture: str, more: dict[str, Any]) -> None:
    scene = Scene("unscheduled")
    order = place(scene, T0, 1, fixture, **more)
    scene.pass_time(h(48) - SECOND)
    assert (scene.outcome(order), scene.acted_at(order)) == ("waiting", None)
    scene.pass_time(h(48))
    assert (scene.outcome(order), scene.acted_at(order)) == ("shadowed", h(48))


def test_the_two_days_count_from_when_it_was_opened() -> None:
    scene = Scene("unscheduled")
    order = place(scene, h(5), 1, occurred_at=iso(T0))
    place(scene, h(30), 1, "v3_awaiting_availability")
    scene.pass_time(h(100))
    assert scene.acted_at(order) == h(48)


def test_an_order_scheduled_in_time_stays() -> None:
    scene = Scene("unscheduled")
    order = place(scene, T0, 1)
    place(scene, h(47), 1, "v3_appointment_scheduled")
    scene.pass_time(h(100))
    assert (scene.outcome(order), scene.acted_at(order)) == ("unmatched", None)


@pytest.mark.parametrize("fixture", ["v3_awaiting_reschedule", "v3_unable_to_complete"])
def test_an_appointment_that_moved_was_made_in_time(fixture: str) -> None:
    scene = Scene("unscheduled")
    order = place(scene, T0, 1)
    place(scene, h(40), 1, "v3_appointment_scheduled")
    place(scene, h(60), 1, fixture)
    called_off = [{"start_datetime": iso(h(70)), "cancellation_reason": "reschedule"}]
    scene.poll(h(60.1), "v3_awaiting_availability", order_id=1, request_id=1001, appointments=called_off)
    assert scene.units[order].verdict().cancelable is Cancelable.YES
    scene.pass_time(h(200))
    assert scene.acted_at(order) is None


@pytest.mark.parametrize("fixture", ["v3_canceled", "v3_delivered", "v2_hold"])
def test_an_order_that_is_not_open_stays(fixture: str) -> None:
    scene = Scene("unscheduled")
    order = place(scene, T0, 1, fixture)
    scene.pass_time(h(100))
    assert scene.acted_at(order) is None


def test_an_order_tagged_keep_may_take_as_long_as_it_takes() -> None:
    scene = Scene("unscheduled")
    order = place(scene, T0, 1)
    scene.tag(h(1), order, "keep")
    scene.pass_time(h(100))
    assert scene.acted_at(order) is None
    scene.tag(h(101), order, remove=("keep",))
    assert scene.acted_at(order) == h(101)


# -- unpaid: Shoplazza ----------------------------------------------------------------------------


def shop(scene: Scene, now: datetime, fixture: str = "created", *, polled: bool = False, **more: Any) -> str:
    """The shop tells of its order: by itself, or because it was asked."""
    act = scene.poll if polled else scene.hear
    return act(now, fixture, **{"created_at": iso(T0), "updated_at": iso(now), **more})


def shown(scene: Scene, until_h: float, fixture: str = "created", **more: Any) -> None:
    """The order is polled four times an hour until then, and is as it was."""
    while scene.now + timedelta(minutes=15) <= h(until_h):
        shop(scene, scene.now + timedelta(minutes=15), fixture, polled=True, **more)


@pytest.mark.parametrize("payment", ["waiting", "failed", "cancelled"])
def test_an_order_never_paid_goes_after_three_days(payment: str) -> None:
    scene = Scene("unpaid")
    order = shop(scene, T0, financial_status=payment)
    shown(scene, 71.9, financial_status=payment)
    scene.pass_time(h(72) - SECOND)
    assert (scene.outcome(order), scene.acted_at(order)) == ("waiting", None)
    scene.pass_time(h(72))
    assert (scene.outcome(order), scene.acted_at(order)) == ("shadowed", h(72))


@pytest.mark.parametrize("fixture", ["paid", "financial_paid", "financial_authorized", "financial_partially_paid"])
def test_an_order_paid_in_time_stays(fixture: str) -> None:
    scene = Scene("unpaid")
    order = shop(scene, T0)
    shop(scene, h(71), fixture)
    shown(scene, 80, fixture)
    assert (scene.outcome(order), scene.acted_at(order)) == ("unmatched", None)


@pytest.mark.parametrize(
    "more",
    [
        {"status": "placed"},  # cash on delivery
        {"financial_status": "paying"},
        {"financial_status": "authorized"},
        {"financial_status": "partially_paid"},
        {"financial_status": None},
        {"fulfillment_status": "partially_shipped"},
        {"status": "canceled", "canceled_at": iso(T0)},
    ],
)
def test_what_is_paid_otherwise_or_shipped_or_canceled_stays(more: dict[str, Any]) -> None:
    scene = Scene("unpaid")
    order = shop(scene, T0, **more)
    shown(scene, 80, **more)
    assert scene.acted_at(order) is None


def test_without_fresh_news_the_shop_is_asked_first_and_what_is_paid_stays() -> None:
    scene = Scene("unpaid", mode=Mode.ENFORCE)
    scene.account = replace(scene.account, stale_after_s=3600.0)
    order = shop(scene, T0)
    scene.pass_time(h(72))
    [asked] = scene.units[order].aggregate.live
    assert asked.waiting is Waiting.PROBE
    shop(scene, h(72), "financial_paid", polled=True)
    assert (scene.units[order].aggregate.live, scene.outcome(order)) == ((), "unmatched")


def test_a_payment_whose_webhook_went_missing_is_found_by_asking() -> None:
    scene = Scene("unpaid")
    order = shop(scene, T0)
    shown(scene, 50)
    shown(scene, 80, "financial_paid")
    assert scene.acted_at(order) is None


def test_an_unpaid_order_tagged_keep_stays() -> None:
    scene = Scene("unpaid")
    order = shop(scene, T0)
    scene.tag(h(1), order, "keep")
    shown(scene, 80)
    assert scene.acted_at(order) is None


# -- last-moment: Superloop -----------------------------------------------------------------------

VISIT = h(100)
"""When the technician comes; the window closes 26 hours before."""


def booked(*tags: str, visit: datetime = VISIT) -> tuple[Scene, str]:
    """An order with an appointment."""
    scene = Scene("last-moment")
    order = scene.hear(T0, "order_created")
    scene.hear(h(1), "appointment_booked", startTime=iso(visit), endTime=iso(visit + timedelta(hours=4)))
    if tags:
        scene.tag(h(2), order, *tags)
    return scene, order


def move(scene: Scene, now: datetime, visit: datetime) -> None:
    scene.hear(now, "appointment_booked", startTime=iso(visit), endTime=iso(visit + timedelta(hours=4)))


def test_an_order_nobody_confirmed_goes_half_an_hour_before_it_is_too_late() -> None:
    scene, order = booked("cancel-unless-confirmed")
    scene.pass_time(h(73.5) - SECOND)
    assert (scene.outcome(order), scene.acted_at(order)) == ("waiting", None)
    scene.pass_time(h(73.5))
    assert (scene.outcome(order), scene.acted_at(order)) == ("shadowed", h(73.5))
    assert scene.units[order].verdict().cancelable is Cancelable.YES


def test_an_order_that_was_confirmed_stays() -> None:
    scene, order = booked("cancel-unless-confirmed")
    scene.tag(h(73), order, "confirmed")
    scene.pass_time(h(200))
    assert (scene.outcome(order), scene.acted_at(order)) == ("unmatched", None)


@pytest.mark.parametrize("tags", [(), ("confirmed",), ("vip",)])
def test_an_order_without_the_tag_is_none_of_its_business(tags: tuple[str, ...]) -> None:
    scene, order = booked(*tags)
    scene.pass_time(h(200))
    assert scene.acted_at(order) is None


@pytest.mark.parametrize("hours", [50, 150])
def test_if_the_appointment_moves_so_does_the_last_moment(hours: float) -> None:
    scene, order = booked("cancel-unless-confirmed")
    move(scene, h(10), h(hours))
    scene.pass_time(h(200))
    assert scene.acted_at(order) == h(hours - 26.5)


@pytest.mark.parametrize(
    ("fixture", "more"),
    [("appointment_cancelled", {}), ("appointment_reserved", {}), ("appointment_booked", {"startTime": "soon"})],
)
def test_without_a_known_appointment_there_is_no_last_moment(fixture: str, more: dict[str, Any]) -> None:
    scene, order = booked("cancel-unless-confirmed")
    scene.hear(h(10), fixture, **more)
    scene.pass_time(h(200))
    assert (scene.outcome(order), scene.acted_at(order)) == ("waiting", None)


def test_an_order_tagged_too_late_is_told_of_and_left_alone() -> None:
    scene, order = booked()
    scene.tag(h(80), order, "cancel-unless-confirmed")
    assert (scene.outcome(order), scene.acted_at(order)) == ("refrained", None)
    assert "within 26 hours" in scene.detail(order)


# -- stuck-in-flight: NotPanel --------------------------------------------------------------------


@pytest.mark.parametrize("remains", [650, "650"])
def test_an_order_in_flight_for_a_day_goes(remains: Any) -> None:
    scene = Scene("stuck-in-flight")
    order = scene.hear(T0, "status_only", remains=remains)
    for hour in range(1, 24):
        scene.poll(h(hour), "status_only", remains=remains)
    scene.pass_time(h(24) - SECOND)
    assert (scene.outcome(order), scene.acted_at(order)) == ("waiting", None)
    scene.pass_time(h(24))
    assert (scene.outcome(order), scene.acted_at(order)) == ("shadowed", h(24))


@pytest.mark.parametrize("status", ["completed", "Partial", "refunded", "canceled"])
def test_an_order_that_came_to_an_end_in_time_stays(status: str) -> None:
    scene = Scene("stuck-in-flight")
    order = scene.hear(T0, "status_only")
    scene.poll(h(23.9), "status_only", status=status)
    scene.pass_time(h(100))
    assert (scene.outcome(order), scene.acted_at(order)) == ("unmatched", None)


@pytest.mark.parametrize("meanwhile", [{"status": "Pending"}, {"status": "on the moon"}, {"remains": "0"}])
def test_the_day_begins_anew_when_it_makes_progress_again(meanwhile: dict[str, Any]) -> None:
    scene = Scene("stuck-in-flight")
    order = scene.hear(T0, "status_only")
    scene.poll(h(20), "status_only", **meanwhile)
    scene.poll(h(21), "status_only")
    scene.pass_time(h(45) - SECOND)
    assert scene.acted_at(order) is None
    scene.pass_time(h(100))
    assert scene.acted_at(order) == h(45)


def test_every_delivery_puts_it_off() -> None:
    scene = Scene("stuck-in-flight")
    order = scene.hear(T0, "status_only", remains="650")
    for hour in range(1, 40):
        scene.poll(h(hour), "status_only", remains=str(max(500, 650 - 10 * hour)))
    assert scene.acted_at(order) == h(15 + 24)


@pytest.mark.parametrize("more", [{"status": "Pending"}, {"remains": "0"}, {"remains": None}])
def test_what_has_not_begun_or_is_delivered_or_says_nothing_stays(more: dict[str, Any]) -> None:
    scene = Scene("stuck-in-flight")
    order = scene.hear(T0, "status_only", **more)
    scene.pass_time(h(100))
    assert (scene.outcome(order), scene.acted_at(order)) == ("unmatched", None)


def test_an_order_in_flight_tagged_keep_stays() -> None:
    scene = Scene("stuck-in-flight")
    order = scene.hear(T0, "status_only")
    scene.tag(h(1), order, "keep")
    scene.pass_time(h(100))
    assert scene.acted_at(order) is None
