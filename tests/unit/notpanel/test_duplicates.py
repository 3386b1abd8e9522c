"""Nothing that is kept of NotPanel's orders tells that two of them are the same."""

from __future__ import annotations

from webhooks import mark, order_of


def test_two_orders_of_one_service_are_no_duplicates() -> None:
    one = order_of("notpanel", "unlisted_event_with_status")
    other = order_of("notpanel", "unlisted_event_with_status", order="ord_01HG9X7KJP4N0002")
    assert one.attributes == other.attributes
    assert mark("notpanel", one) is mark("notpanel", other) is None


def test_a_panel_that_states_service_and_quantity_may_have_them_named() -> None:
    def ordered(id: str, quantity: int | None) -> int | None:
        order = order_of("notpanel", "unlisted_event_with_status", order=id, quantity=quantity)
        return mark("notpanel", order, duplicate_keys=("service", "quantity"))

    assert ordered("1", 1000) == ordered("2", 1000) is not None
    assert ordered("1", 1000) != ordered("2", 2000)
    assert ordered("1", None) is None
