"""The sandbox over real HTTP on loopback; nothing waits by sleeping, every wait is for something that happens."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from providers import HELD_S, WAIT_S, Gate, until

from app.dev.sandbox import Runner, start_sandbox
from app.runtime.http_server import EndingRunner
from handlers.planomatic.simulator import DOCUMENTED_API_KEY, PlanOmatic

CANCEL = "/api/v3/orders/cancel"
GOOD = {"api_key": DOCUMENTED_API_KEY, "order_id": "654321", "cancelation_reason": "duplicate_order", "notes": "x"}


@dataclass
class Client:
    """A caller of the provider, and the hand that moves its side."""

    session: aiohttp.ClientSession
    sandbox: Runner
    gate: Gate = field(default_factory=Gate)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        async with self.session.request(method, f"{self.sandbox.url}{path}", data=data) as answer:
            return answer.status, await answer.json()

    async def act(self, do: str, **params: Any) -> dict[str, Any]:
        status, answer = await self.ask("POST", "/_sandbox/planomatic/act", {"do": do, **params})
        assert status == 200, answer
        assert isinstance(answer, dict)
        return answer

    async def fault(self, fault: str, **params: Any) -> None:
        status, answer = await self.ask("POST", "/_sandbox/planomatic/faults", {"fault": fault, **params})
        assert status == 201, answer

    async def cancel(self) -> tuple[int, Any]:
        return await self.ask("POST", f"/planomatic{CANCEL}", GOOD)

    async def effects(self) -> int:
        [order] = (await self.act("list"))["orders"]
        return int(order["cancel_effects"])

    async def calls(self) -> list[dict[str, Any]]:
        status, answer = await self.ask("GET", "/_sandbox/planomatic/calls")
        assert status == 200
        assert answer["total"] == len(answer["data"])
        return list(answer["data"])


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    gate = Gate()
    simulators = {"planomatic": PlanOmatic()}
    async with (
        await start_sandbox(port=0, simulators=simulators, resend_s=3600, sleep=gate.sleep) as sandbox,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_S)) as session,
    ):
        client = Client(session, sandbox, gate)
        await client.act("create_order")
        assert (await client.ask("GET", "/_sandbox/planomatic/webhooks"))[0] == 200
        yield client
        gate.open(for_good=True)


@dataclass
class Receiver:
    """A webhook endpoint that answers as it is told, by default 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    seen: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.json()
        seen = {"headers": request.headers, "query": dict(request.query), "body": body}
        seen["answer"] = self.answers.pop(0) if self.answers else 200
        await self.seen.put(seen)
        return web.Response(status=seen["answer"], headers={"Location": self.url} if seen["answer"] == 307 else {})

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.seen.get(), WAIT_S)


@asynccontextmanager
async def receiver(*answers: int) -> AsyncIterator[Receiver]:
    made = Receiver(answers=list(answers))
    application = web.Application()
    application.router.add_post("/hook", made.receive)
    runner = EndingRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield made
    finally:
        await runner.cleanup()


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


# -- Webhooks --------------------------------------------------------------------------------


async def set_target(client: Client, url: str | None, **headers: str) -> None:
    answer = await client.ask("PUT", "/_sandbox/planomatic/webhooks", {"url": url, "headers": headers})
    assert answer == (200, {"url": url})


async def test_webhooks_wait_and_are_taken_out_while_there_is_no_target(client: Client) -> None:
    await client.act("schedule_appointment", order_id=654321)
    await client.act("deliver", order_id=654321)
    _, answer = await client.ask("GET", "/_sandbox/planomatic/webhooks")
    assert [json.loads(each["body"])["event"] for each in answer["data"]] == [
        "appointment.scheduled",
        "order.delivered",
    ]
    assert answer["data"][0]["headers"]["Content-Type"] == "application/json"
    assert await client.ask("GET", "/_sandbox/planomatic/webhooks") == (200, {"data": []})


async def test_webhooks_go_to_their_target_in_order_with_its_token(client: Client) -> None:
    async with receiver() as target:
        await client.act("await_availability", order_id=654321)
        await set_target(client, f"{target.url}?token=s3cret", **{"X-Hook": "t"})
        await client.act("schedule_appointment", order_id=654321)
        await client.act("await_reschedule", order_id=654321)
        await client.cancel()
        seen = [await target.next() for _ in range(4)]
        assert [each["body"]["event"] for each in seen] == [
            "appointment.awaiting_availability",
            "appointment.scheduled",
            "appointment.awaiting_reschedule",
            "order.canceled",
        ]
        assert all(each["query"] == {"token": "s3cret"} and each["headers"]["X-Hook"] == "t" for each in seen)
        assert (await client.ask("GET", "/_sandbox/planomatic/webhooks"))[0] == 409


async def test_a_webhook_that_is_not_taken_holds_up_the_later_ones_until_it_is() -> None:
    simulator = PlanOmatic()
    async with (
        receiver(500, 307, 404, 204) as target,
        await start_sandbox(port=0, simulators={"planomatic": simulator}, resend_s=0.05) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        client = Client(session, sandbox)
        await set_target(client, target.url)
        await client.act("create_order")
        await client.act("deliver", order_id=654321)
        seen = [await target.next() for _ in range(5)]
        assert [(each["body"]["event"], each["answer"]) for each in seen] == [
            ("order.processed", 500),
            ("order.processed", 307),
            ("order.processed", 404),
            ("order.processed", 204),
            ("order.delivered", 200),
        ]


async def test_a_new_target_is_tried_at_once(client: Client) -> None:
    async with receiver(503) as first, receiver() as second:
        await set_target(client, first.url)
        await client.act("deliver", order_id=654321)
        assert (await first.next())["answer"] == 503
        await set_target(client, second.url)  # the first would be tried again in an hour
        assert (await second.next())["body"]["event"] == "order.delivered"


async def test_a_target_that_is_not_there_is_tried_again(client: Client, unused_tcp_port: int) -> None:
    await set_target(client, f"http://127.0.0.1:{unused_tcp_port}/hook")
    await client.act("deliver", order_id=654321)
    async with receiver() as target:
        await set_target(client, target.url)
        assert (await target.next())["body"]["event"] == "order.delivered"


async def test_webhooks_are_kept_again_when_the_target_is_taken_away(client: Client) -> None:
    async with receiver() as target:
        await set_target(client, target.url)
        await client.act("await_availability", order_id=654321)
        await target.next()
        await set_target(client, None)
        await client.act("deliver", order_id=654321)
        _, answer = await client.ask("GET", "/_sandbox/planomatic/webhooks")
        assert [json.loads(each["body"])["event"] for each in answer["data"]] == ["order.delivered"]
        assert target.seen.empty()


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
