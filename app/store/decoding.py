"""Decoding rows in time slices: one event, or order, may have 100 KB of facts, and a page 500 of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from app.core.aggregate import OrderAggregate
from app.core.event import Event
from app.runtime.time_slice import TimeSlice
from app.store import codec
from app.store.records import Position


async def read_events(rows: Iterable[tuple[Any, ...]]) -> list[tuple[int, Event]]:
    """The events of rows of (position, columns)."""
    time_slice, events = TimeSlice(), list[tuple[int, Event]]()
    for position, *columns in rows:
        events.append((position, codec.read_event(columns)))
        await time_slice.pause()
    return events


async def read_aggregates(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Position, OrderAggregate]]:
    """The orders of rows of (position, state)."""
    time_slice, orders = TimeSlice(), list[tuple[Position, OrderAggregate]]()
    for position, state in rows:
        orders.append((position, codec.read_aggregate(state)))
        await time_slice.pause()
    return orders
