"""The sandbox over real HTTP on loopback; nothing waits by sleeping, every wait is for something that happens."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from providers import HELD_S, WAIT_S, until
from sandboxes import CANCEL, GOOD, Client, receiver, sandbox_client, set_target

from app.dev.sandbox import start_sandbox
from handlers.planomatic.simulator import PlanOmatic


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with sandbox_client() as client:
        yield client


# -- The provider ----------------------------------------------------------------------------


async def test_it_listens_on_loopback(client: Client) -> None:
    assert client.sandbox.host == "127.0.0.1"
    assert client.sandbox.url == f"http://127.0.0.1:{client.sandbox.port}"
    assert await client.ask("GET", "/_sandbox") == (200, {"providers": ["planomatic"]})


async def test_a_provider_answers_under_its_name(client: Client) -> None:
    status, answer = await client.cancel()
    assert (status, answer["code"], answer["order"]["status"]) == (200, 200, "canceled")
    assert await client.effects() == 1
    status, answer = await client.ask("POST", f"/planomatic{CANCEL}", b"order_id=654321")
    assert (status, answer["status"]) == (400, "validation-error")
    assert (await client.ask("GET", "/planomatic/nothing"))[0] == 404


async def test_every_call_is_written_down_as_it_arrives(client: Client) -> None:
    before = time.time()
    await client.cancel()
    await client.ask("GET", "/planomatic/orders/77/x?a=1")
    await client.ask("POST", "/planomatic/other", b"action=status&order=5")
    await client.ask("POST", "/planomatic/other", {"order_id": 1, "request_id": 2})
    after = time.time()
    calls = await client.calls()
    assert [(each["method"], each["path"], each["status"], each["order"]) for each in calls] == [
        ("POST", CANCEL, 200, "654321"),
        ("GET", "/orders/77/x", 404, "77"),
        ("POST", "/other", 404, "5"),
        ("POST", "/other", 404, "2"),
    ]
    assert before <= calls[0]["at"] <= calls[1]["at"] <= after
    assert (await client.ask("GET", "/_sandbox/planomatic/calls?after=3"))[1]["data"] == calls[3:]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("POST", "/_sandbox/planomatic/act", {"do": "fly"}, 400, "create_order"),
        ("POST", "/_sandbox/planomatic/act", b"{", 400, "not JSON"),
        ("POST", "/_sandbox/planomatic/act", [1], 400, "object"),
        ("POST", "/_sandbox/nobody/act", {}, 404, "planomatic"),
        ("POST", "/nobody/api", {}, 404, "planomatic"),
        ("POST", "/_sandbox/planomatic/faults", {"fault": "fire"}, 400, "reset_before"),
        ("POST", "/_sandbox/planomatic/faults", {"fault": "delay", "secs": 1}, 400, "secs"),
        ("POST", "/_sandbox/planomatic/faults", {"fault": "delay", "processed": "never"}, 400, "before or after"),
        ("POST", "/_sandbox/planomatic/faults", {"fault": "reset_after", "processed": "before"}, 400, "leave it out"),
        ("PUT", "/_sandbox/planomatic/webhooks", {"url": "ftp://x"}, 400, "http"),
        ("PUT", "/_sandbox/planomatic/webhooks", {}, 400, "url"),
        ("GET", "/_sandbox/planomatic/calls?after=x", None, 400, "number"),
    ],
)
async def test_what_is_wrong_is_said(client: Client, method: str, path: str, body: Any, status: int, says: str) -> None:
    code, answer = await client.ask(method, path, body)
    assert code == status
    assert says in answer["error"]


# -- Faults ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "effects"), [("reset_before", 0), ("reset_after", 1)])
async def test_the_connection_is_cut_before_or_after_the_effect(client: Client, fault: str, effects: int) -> None:
    await client.fault(fault, path=CANCEL)
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await client.cancel()
    assert await client.effects() == effects
    assert (await client.cancel())[0] == (400 if effects else 200)
    first = (await client.calls())[0]
    assert (first["status"], first["fault"]) == (None, fault)


@pytest.mark.parametrize(("processed", "effects"), [(None, 0), ("never", 0), ("before", 1)])
async def test_any_status_can_be_answered(client: Client, processed: str | None, effects: int) -> None:
    more = {"processed": processed} if processed else {}
    await client.fault("status", status=503, body={"code": 503}, headers={"Retry-After": "7"}, times=2, **more)
    async with client.session.post(f"{client.sandbox.url}/planomatic{CANCEL}", json=GOOD) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
        assert await answer.json(content_type=None) == {"code": 503}
    assert await client.effects() == effects
    async with client.session.post(f"{client.sandbox.url}/planomatic{CANCEL}", json=GOOD) as answer:
        assert answer.status == 503
    assert (await client.cancel())[0] in (200, 400)


async def test_a_status_may_come_with_text_or_nothing(client: Client) -> None:
    await client.fault("status", status=502, body="<html>Bad Gateway</html>")
    await client.fault("status", status=204)
    async with client.session.post(f"{client.sandbox.url}/planomatic{CANCEL}", json=GOOD) as answer:
        assert (answer.status, await answer.text()) == (502, "<html>Bad Gateway</html>")
    async with client.session.post(f"{client.sandbox.url}/planomatic{CANCEL}", json=GOOD) as answer:
        assert (answer.status, await answer.read()) == (204, b"")


async def test_the_json_may_break_off(client: Client) -> None:
    await client.fault("wrong_json")
    with pytest.raises(json.JSONDecodeError):
        await client.cancel()
    assert await client.effects() == 1


@pytest.mark.parametrize(("processed", "effects"), [("before", 1), ("after", 0)])
async def test_an_answer_may_come_late_or_the_effect_may(client: Client, processed: str, effects: int) -> None:
    await client.fault("delay", seconds=HELD_S, processed=processed)
    late = asyncio.create_task(client.cancel())
    await until(client.calls)
    assert await client.effects() == effects
    assert not late.done()
    client.gate.open()
    assert (await late)[0] == 200
    assert await client.effects() == 1


async def test_a_delay_takes_its_time() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    simulators = {"planomatic": PlanOmatic()}
    async with (
        await start_sandbox(port=0, simulators=simulators, sleep=sleep) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        client = Client(session, sandbox)
        await client.act("create_order")
        await client.fault("delay", seconds=7.5)
        assert (await client.cancel())[0] == 200
        assert slept == [7.5]


@pytest.mark.parametrize("processed", ["before", "after"])
async def test_a_delay_ends_when_the_faults_are_removed(client: Client, processed: str) -> None:
    await client.fault("delay", seconds=HELD_S, processed=processed)
    late = asyncio.create_task(client.cancel())
    await until(client.calls)
    assert await client.ask("DELETE", "/_sandbox/planomatic/faults") == (200, {})
    assert (await late)[0] == 200
    assert await client.effects() == 1


async def test_a_delayed_call_takes_effect_although_its_caller_has_gone(client: Client) -> None:
    await client.fault("delay", seconds=HELD_S, processed="after")
    gone = asyncio.create_task(client.cancel())
    await until(client.calls)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await client.effects() == 0
    client.gate.open()
    await until(client.effects)


async def test_the_body_may_come_slowly(client: Client) -> None:
    await client.fault("slow_body", seconds=HELD_S)
    async with client.session.post(f"{client.sandbox.url}/planomatic{CANCEL}", json=GOOD) as answer:
        first = await answer.content.readany()
        with pytest.raises(json.JSONDecodeError):
            json.loads(first)
        client.gate.open()
        rest = await answer.content.read()
    assert rest
    assert json.loads(first + rest)["order"]["status"] == "canceled"


async def test_faults_befall_their_path_in_turn_and_can_be_forgotten(client: Client) -> None:
    await client.fault("status", path="/elsewhere", status=418)
    await client.fault("status", path=CANCEL, status=500, times=1)
    await client.fault("status", path=CANCEL, status=502, times=5)
    statuses = []
    for _ in range(3):
        async with client.session.post(f"{client.sandbox.url}/planomatic{CANCEL}", json=GOOD) as answer:
            statuses.append(answer.status)
    assert statuses == [500, 502, 502]
    assert await client.ask("DELETE", "/_sandbox/planomatic/faults") == (200, {})
    assert (await client.cancel())[0] == 200


# -- Running ---------------------------------------------------------------------------------


async def test_closing_ends_everything() -> None:
    sandbox = await start_sandbox(port=0, simulators={"planomatic": PlanOmatic()})
    async with aiohttp.ClientSession() as session:
        client = Client(session, sandbox)
        await client.act("create_order")
        async with receiver(500) as target:
            await set_target(client, target.url)
            await target.next()
            await asyncio.wait_for(sandbox.close(), WAIT_S)
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.act("list")


async def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_open(client: Client) -> None:
    with pytest.raises(OSError, match="in use"):
        await start_sandbox(port=client.sandbox.port)


async def test_the_clock_is_the_simulators() -> None:
    now = 1_000_000.0
    async with (
        await start_sandbox(port=0, simulators={"planomatic": PlanOmatic(requests=1)}, clock=lambda: now) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        client = Client(session, sandbox)
        await client.act("create_order")
        assert [(await client.cancel())[0] for _ in range(2)] == [200, 429]
        now += 60
        assert (await client.cancel())[0] == 400
        assert [each["at"] for each in await client.calls()] == [1_000_000.0, 1_000_000.0, 1_000_060.0]
