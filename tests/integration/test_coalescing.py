"""Several cancels of one account leave as one call, and each has its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from conftest import Start
from providers import Side, until
from servers import Rescind

from app.contract import HttpRequest, HttpResponse
from handlers.notpanel.simulator import DEFAULT_KEY, NotPanel

PANEL = "panel"
pytestmark = pytest.mark.usefixtures("quick")


@pytest_asyncio.fixture
async def panel() -> AsyncIterator[Side]:
    side = await Side.begin("notpanel", NotPanel())
    yield side
    await side.close()


async def account(rescind: Rescind, panel: Side, **more: Any) -> None:
    config = {"base_url": panel.url, "key": DEFAULT_KEY}
    await rescind.put("accounts", PANEL, {"provider": "notpanel", "config": config, **more})


async def orders(panel: Side, number: int) -> list[str]:
    return [str((await panel.act("create_order"))["order_id"]) for _ in range(number)]


async def request_cancel(rescind: Rescind, order: str) -> str:
    reply = await rescind.ask("POST", f"/v1/accounts/{PANEL}/orders/{order}/cancellations", {"reason": "changed mind"})
    assert reply.status == 202, reply
    return str(reply.json["id"])


async def while_paused(rescind: Rescind, wanted: list[str]) -> list[str]:
    """Request cancels that all become due at once, when sending is resumed."""
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    made = list(await asyncio.gather(*(request_cancel(rescind, order) for order in wanted)))
    await rescind.ask("POST", "/v1/resume", {"scope": "all"})
    return made


async def test_due_cancels_leave_as_one_call(rescind: Rescind, panel: Side) -> None:
    await account(rescind, panel, unknown_orders="send")
    wanted = await orders(panel, 30)
    made = await while_paused(rescind, wanted)
    done = [await rescind.settled(id) for id in made]
    assert {each["state"] for each in done} == {"succeeded"}
    assert [await panel.effects(order) for order in wanted] == [1] * 30
    calls = await panel.calls()
    assert calls[0]["order"].count(",") == 29, "all thirty in the first call"
    assert len(calls) <= 4, "and then the status of all of them, together"


async def test_no_call_names_more_orders_than_the_provider_takes(rescind: Rescind, panel: Side) -> None:
    await account(rescind, panel, unknown_orders="send")
    wanted = await orders(panel, 130)
    for id in await while_paused(rescind, wanted):
        await rescind.settled(id)
    named = [each["order"].count(",") + 1 for each in await panel.calls()]
    assert max(named) == 100
    assert sorted(named[:2]) == [30, 100]
    assert [await panel.effects(order) for order in wanted] == [1] * 130


async def test_each_order_of_a_call_has_its_own_outcome(rescind: Rescind, panel: Side) -> None:
    await account(rescind, panel, unknown_orders="send")
    pending, flying, done = await orders(panel, 3)
    await panel.act("start", order_id=flying)
    await panel.act("complete", order_id=done, silent=True)
    made = await while_paused(rescind, [pending, flying, done, "ord_nobody"])
    assert (await rescind.settled(made[0]))["state"] == "succeeded"
    assert (await rescind.settled(made[2]))["state"] == "refused"
    assert (await rescind.settled(made[3]))["state"] == "refused"
    assert (await rescind.cancellation(made[1]))["state"] == "accepted", "queued upstream"
    await panel.act("settle", order_id=flying, granted=True)
    assert (await rescind.settled(made[1]))["state"] == "succeeded"
    [first] = {each["order"] for each in (await panel.calls())[:1]}
    assert set(first.split(",")) == {pending, flying, done, "ord_nobody"}


async def test_the_attempt_is_counted_once_and_shown_with_every_order(rescind: Rescind, panel: Side) -> None:
    await account(rescind, panel, unknown_orders="send")
    wanted = [*await orders(panel, 2), "ord_nobody"]
    for id in await while_paused(rescind, wanted):
        await rescind.settled(id)
    lane = (await rescind.get(f"/v1/accounts/{PANEL}"))["lane"]
    assert lane["used"] == len(await panel.calls())
    answers = []
    for order in wanted:
        [cancel] = [
            each["attempt"]
            for each in await rescind.timeline(order, PANEL)
            if each["kind"] == "attempt" and each["attempt"]["kind"] == "cancel"
        ]
        assert cancel["outcome"] == ("refused" if order == "ord_nobody" else "accepted")
        [exchange] = cancel["exchanges"]
        assert exchange["status"] == 200
        answers.append("answer" in exchange)
        assert exchange.get("shared_with", cancel["id"]).startswith("att_")
    assert sorted(answers) == [False, False, True], "the answer is kept with one of them"


async def test_a_lost_answer_is_probed_for_every_order_of_the_call(rescind: Rescind, panel: Side) -> None:
    await account(rescind, panel, unknown_orders="send")
    wanted = await orders(panel, 5)
    await panel.fault("reset_after")
    for id in await while_paused(rescind, wanted):
        assert (await rescind.settled(id))["state"] == "succeeded"
    assert [(await panel.book(order))["cancel_calls"] for order in wanted] == [1] * 5


async def test_an_order_whose_window_closed_is_left_out_of_the_call(rescind: Rescind, panel: Side) -> None:
    await account(rescind, panel, unknown_orders="probe")
    wanted = await orders(panel, 4)
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    made = list(await asyncio.gather(*(request_cancel(rescind, order) for order in wanted)))
    await panel.act("complete", order_id=wanted[1], silent=True)
    await rescind.ask("POST", "/v1/resume", {"scope": "all"})
    states = [(await rescind.settled(id))["state"] for id in made]
    assert states == ["succeeded", "rejected", "succeeded", "succeeded"]
    assert (await panel.book(wanted[1]))["cancel_calls"] == 0


async def test_what_was_out_when_the_process_ended_is_probed_order_by_order(start: Start, panel: Side) -> None:
    rescind = await start()
    await account(rescind, panel, unknown_orders="send")
    wanted = await orders(panel, 3)
    await panel.hold()
    made = await while_paused(rescind, wanted)
    await panel.arrived(1)

    async def sending() -> bool:
        return all([(await rescind.cancellation(id))["state"] == "sending" for id in made])

    await until(sending, "all of them on their way")
    await rescind.stop()
    rescind = await start()
    for id, order in zip(made, wanted, strict=True):
        assert (await rescind.settled(id))["state"] == "succeeded"
        states = await rescind.states(order, PANEL)
        assert states[:3] == ["scheduled", "sending", "indeterminate"], "nobody knew what became of it"
    assert [(await panel.book(order))["cancel_calls"] for order in wanted] == [1] * 3, "it was not sent again"


async def test_an_order_that_spoils_the_whole_call_does_not_spoil_the_others_for_ever(
    rescind: Rescind, panel: Side
) -> None:
    await account(rescind, panel, unknown_orders="send", limits={"requests": 10_000, "per_s": 1.0})
    *good, bad = await orders(panel, 8)
    handle = panel.simulator.handle

    def strict(request: HttpRequest, now: float) -> HttpResponse:
        if b"action=cancel" in request.body and bad.encode() in request.body:
            return HttpResponse(400, {"content-type": "application/json"}, b'{"error":"Bad request"}')
        answer: HttpResponse = handle(request, now)
        return answer

    panel.simulator.handle = strict
    made = await while_paused(rescind, [*good, bad])
    for id in made[:-1]:
        assert (await rescind.settled(id))["state"] == "succeeded"
    assert (await rescind.settled(made[-1]))["state"] == "refused", "alone, it is told from the call"
