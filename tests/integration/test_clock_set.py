"""The clock is set while we run or between two processes: the fence and the limits hold (I3, I6)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from conftest import Start
from providers import Provider
from servers import ACCOUNT, Rescind, account_of
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


@pytest.mark.parametrize("hours", [2, -2])
async def test_a_clock_that_is_set_between_two_processes_forgets_no_call(
    rescind: Rescind, provider: Provider, start: Start, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, limits={"requests": 1, "per_s": 3600}))
    await provider.create("o-1", "o-2")
    for order in ("o-1", "o-2"):
        await rescind.tell("order.processed", order)
    assert (await rescind.settled(await rescind.cancel("o-1")))["state"] == "succeeded"
    await rescind.stop()
    shift(monkeypatch, timedelta(hours=hours), *WHERE)
    rescind = await start()
    lane = rescind.node.lanes[ACCOUNT]
    await lane._restored.wait()
    assert (lane.status().state, lane.status().used) == ("rate_limited", 1)
    await rescind.cancel("o-2")
    assert await lane._send_due(), "it waits for a place"
    assert len(await provider.calls()) == 1
