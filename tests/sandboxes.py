"""A sandbox on loopback: who calls it, and who receives its webhooks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from providers import WAIT_S, Gate

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


@asynccontextmanager
async def sandbox_client() -> AsyncIterator[Client]:
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


async def set_target(client: Client, url: str | None, **headers: str) -> None:
    answer = await client.ask("PUT", "/_sandbox/planomatic/webhooks", {"url": url, "headers": headers})
    assert answer == (200, {"url": url})
