"""The clock is set while we run or between two processes: the fence and the limits hold (I3, I6)."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic_ns

import pytest
from conftest import Start
from providers import Provider
from servers import ACCOUNT, Rescind, account_of
from times import shift

from app import node
from app.core.attempt import Uptime
from app.web import cancellations, ingest
from app.workers import attempt, duties, lane, ownership, rate_gate

pytestmark = pytest.mark.usefixtures("quick")
WHERE = (ingest, cancellations, attempt, lane, rate_gate, duties, ownership, node)
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
    (await rescind.request_cancel("o-1")).problem(409, "order-not-cancelable")
    assert await provider.calls(None) == []


@pytest.mark.parametrize("hours", [2, -2])
async def test_a_clock_that_is_set_between_two_processes_forgets_no_call(
    rescind: Rescind, provider: Provider, start: Start, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, limits={"requests": 1, "per_s": 3600}))
    await provider.create("o-1", "o-2")
    for order in ("o-1", "o-2"):
        await rescind.tell("order.processed", order)
    for module in (attempt, lane, rate_gate, duties):
        # As on a system that tells one start of the machine from another.
        monkeypatch.setattr(module, "uptime", lambda: Uptime(1, monotonic_ns() // 1000))
    assert (await rescind.settled(await rescind.cancel("o-1")))["state"] == "succeeded"
    await rescind.stop()
    shift(monkeypatch, timedelta(hours=hours), *WHERE)
    rescind = await start()
    sending = rescind.node.lanes[ACCOUNT]
    await sending.gate.restored.wait()
    assert (sending.status().state, sending.status().used) == ("rate_limited", 1)
    await rescind.cancel("o-2")
    assert await sending._send_due(), "it waits for a place"
    assert len(await provider.calls()) == 1
