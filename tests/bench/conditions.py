"""What a verdict of `generic` costs by the shape of its rule: on orders that are judged again, and on new ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from rich.table import Table

from app.config.registry import handlers
from app.contract import Appointment, Order, Phase
from app.core.verdict import judge

ORDERS = 20_000
"""More than results are remembered."""
_NOW = datetime(2026, 3, 2, 16, 4, 6, tzinfo=UTC)
_OPENED = {"changes_at": "order.opened_at + duration('1h')"}
_SHAPES: dict[str, list[dict[str, str]]] = {
    "no condition": [],
    "phase and status": [{"when": "order.phase == 'open' && order.provider_status in ['packing', 'packed']"}],
    "an attribute of few values": [{"when": "order.attributes.?kind.orValue('') == 'gift'"}],
    "five of these": [{"when": f"order.attributes.?kind.orValue('') == 'kind {number}'"} for number in range(5)],
    "an attribute that it may lack": [{"when": "order.attributes.locked == true"}],
    "an attribute of many values": [{"when": "order.attributes.number == '1'"}],
    "time, decided by the phase": [{"when": "order.phase == 'in_progress' && now > order.last_event_at"}],
    "time since the opening": [{"when": "now - order.opened_at >= duration('1h')", **_OPENED}],
    "time before an appointment": [
        {"when": "order.appointments.exists(a, timestamp(a.starts_at) - duration('24h') <= now)"}
    ],
}


def table() -> Table:
    """Microseconds for a verdict."""
    shown = Table("rule reads", "same order", "new orders", title="µs a verdict of generic, by the shape of the rule")
    for shape, conditions in _SHAPES.items():
        shown.add_row(shape, *(f"{us:.1f}" for us in measure(conditions)))
    return shown


def measure(conditions: list[dict[str, str]]) -> list[float]:
    """Microseconds a verdict, for one order again and again, and for orders that differ."""
    handler = handlers()["generic"]
    given = [{"cancelable": "no", "reason": "condition", **condition} for condition in conditions]
    rules = handler.rules.model_validate({"conditions": given})
    orders = [_order(number) for number in range(ORDERS)]
    return [
        _timed(lambda order: judge(handler, rules, order, _NOW), [orders[0]] * ORDERS),
        _timed(lambda order: judge(handler, rules, order, _NOW), orders),
    ]


def _order(number: int) -> Order:
    at = _NOW + timedelta(days=1, seconds=number)
    return Order(
        "acme",
        f"ord_{number}",
        phase=Phase.OPEN,
        provider_status="placed",
        opened_at=_NOW + timedelta(seconds=number),
        last_event_at=_NOW,
        appointments=(Appointment(f"apt_{number}", "booked", at, at + timedelta(hours=2)),),
        attributes={"total": "12.00", "currency": "EUR", "kind": ("gift", "sale")[number % 2], "number": str(number)},
        version=1,
        sources={"phase": "evt_1", "provider_status": "evt_1"},
    )


def _timed(work: Callable[[Order], object], orders: list[Order]) -> float:
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        for order in orders:
            work(order)
        best = min(best, time.perf_counter() - started)
    return best / len(orders) * 1e6
