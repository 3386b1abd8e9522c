"""An order is written without what lists go by only if all of that is as it was stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from app.contract import Order, Phase
from app.core.aggregate import OrderAggregate
from app.core.outbound.told import Told
from app.core.unit_of_work import AccountView
from app.engine.order_unit import OrderUnit
from handlers.planomatic import HANDLER

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_every_difference_that_lists_show_is_written() -> None:
    order = Order(account="acme", id="o-1", phase=Phase.OPEN, version=1, opened_at=NOW, last_event_at=NOW)
    account = AccountView(id="acme", handler=HANDLER, rules=HANDLER.rules())
    unit = OrderUnit(OrderAggregate(order), account, NOW)
    verdict, closes_at = unit.verdict(), unit.closes_at()
    unit.told = Told(verdict.cancelable, verdict.reason, closes_at, None)
    unit.listed = (order.id, order.phase, order.opened_at)
    assert unit.write().listed_as_before
    for listed in (("o-2", order.phase, NOW), (order.id, Phase.UNKNOWN, NOW), (order.id, order.phase, None)):
        assert not replace(unit, listed=listed).write().listed_as_before, listed
    for told in (
        None,
        Told(verdict.cancelable, None, closes_at, None),
        Told(verdict.cancelable, "other", closes_at, None),
        Told(verdict.cancelable, verdict.reason, NOW + timedelta(days=1), None),
    ):
        assert not replace(unit, told=told).write().listed_as_before, told
    assert not replace(unit, must_write=True).write().listed_as_before
