"""Decoding rows of events in time slices: one event may have 100 KB of facts, and a page 500 events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from app.core.event import Event
from app.runtime.time_slice import TimeSlice
from app.store import codec


async def read_events(rows: Iterable[tuple[Any, ...]]) -> list[tuple[int, Event]]:
    """The events of rows of (position, columns)."""
    time_slice, events = TimeSlice(), list[tuple[int, Event]]()
    for position, *columns in rows:
        events.append((position, codec.read_event(columns)))
        await time_slice.pause()
    return events
