"""Which orders are the same to Superloop, as far as Rescind can tell."""

from __future__ import annotations

import pytest
from webhooks import mark, order_of


def test_two_orders_of_a_kind_for_a_location_are_the_same() -> None:
    one, other = order_of("superloop", "order_created"), order_of("superloop", "order_by_notification_type")
    assert (one.id, other.id) == ("10", "11")
    assert mark("superloop", one) == mark("superloop", other) is not None


def test_what_becomes_of_it_makes_no_difference() -> None:
    gone = order_of("superloop", "order_rejected", id=12, customerRef="CUST-REF-011", serviceId=None)
    assert mark("superloop", gone) == mark("superloop", order_of("superloop", "order_created"))


@pytest.mark.parametrize("changes", [{"locId": "LOC000000000011"}, {"type": "Disconnect"}])
def test_another_location_or_kind_is_another_order(changes: dict[str, str]) -> None:
    other = mark("superloop", order_of("superloop", "order_created", id=11, **changes))
    assert other is not None
    assert other != mark("superloop", order_of("superloop", "order_created"))


def test_an_order_known_by_its_appointment_alone_is_nobody_s_duplicate() -> None:
    assert mark("superloop", order_of("superloop", "appointment_booked")) is None


def test_a_reference_of_the_customer_s_may_tell_more() -> None:
    keys = ("locId", "type", "customerRef")
    one = mark("superloop", order_of("superloop", "order_created"), duplicate_keys=keys)
    other = order_of("superloop", "order_created", id=11, customerRef="CUST-REF-011")
    assert one != mark("superloop", other, duplicate_keys=keys)
    assert one == mark("superloop", order_of("superloop", "order_by_notification_type"), duplicate_keys=keys)
