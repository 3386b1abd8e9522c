"""The clock is set while we run or between two processes: the fence and the limits hold (I3, I6)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from conftest import Start
from providers import Provider
from servers import ACCOUNT, Rescind
from times import shift

from app import node
from app.web import cancellations, ingest
from app.workers import attempt, lane

pytestmark = pytest.mark.usefixtures("quick")
WHERE = (ingest, cancellations, attempt, lane, node)
"""Where the time of day is read."""


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_that_is_set_back_leaves_the_window_closed(
    rescind: Rescind, provider: Provider, start: Start, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    await provider.create("o-1")
    opening = {"event": "order.processed", "order_id": "o-1"}
    closing = {"event": "appointment.scheduled", "order_id": "o-1", "appointment_id": "a-1"}
    assert (await rescind.hook(opening)).json["status"] == "accepted"
    if restarted:
        await rescind.stop()
        rescind = await start()
    shift(monkeypatch, timedelta(seconds=-3), *WHERE)
    assert (await rescind.hook(closing)).json["status"] == "accepted"
    events = (await rescind.get(f"/v1/events?account={ACCOUNT}&order=o-1"))["data"]
    assert [each["type"] for each in events] == ["appointment.scheduled", "order.processed"]
    assert events[0]["received_at"] > events[1]["received_at"]
    assert (await rescind.order("o-1"))["verdict"]["cancelable"] == "no"
    (await rescind.wish("o-1")).problem(409, "order-not-cancelable")
    assert await provider.calls(None) == []
