"""Lists of large events are read and shown in time slices, by the API and by the console."""

from __future__ import annotations

import pytest
from browsers import Browser
from servers import ACCOUNT, Rescind

from app.runtime.time_slice import TimeSlice

EVENTS = 12


async def test_no_list_of_events_is_read_or_shown_in_one_go(rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(rescind.url)
    await browser.sign_in()
    for _ in range(EVENTS):
        await rescind.tell("order.processed", "654321", note="x" * 1000)
    pause, pauses = TimeSlice.pause, 0

    async def counted(time_slice: TimeSlice) -> None:
        nonlocal pauses
        pauses += 1
        await pause(time_slice)

    monkeypatch.setattr(TimeSlice, "pause", counted)
    for path in (
        "/v1/events",
        f"/v1/events?account={ACCOUNT}&order=654321",
        f"/v1/accounts/{ACCOUNT}/orders/654321/timeline",
        "/events",
        f"/orders/{ACCOUNT}/654321",
    ):
        pauses = 0
        await (rescind.get(path) if path.startswith("/v1/") else browser.get(path))
        assert pauses >= 2 * EVENTS, path
