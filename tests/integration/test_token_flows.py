"""Flows of several calls: a token first, and the fence once more before the cancel itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import aiohttp.connector
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from providers import Side, until
from servers import TOKEN, Rescind
from times import shift

from app.workers import attempt
from handlers.superloop.simulator import CANCEL_PATH, Superloop

LOOP, HOOK = "loop", "loop-in"
TOKEN_PATH = "/token"
pytestmark = pytest.mark.usefixtures("quick")


@cache
def keys() -> tuple[str, str]:
    key = generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest_asyncio.fixture
async def loop() -> AsyncIterator[Side]:
    side = await Side.begin("superloop", Superloop(client_id="acme", key_id="k1", public_key=keys()[1], requests=1000))
    yield side
    await side.close()


async def account(rescind: Rescind, loop: Side, token_url: str | None = None, **more: Any) -> None:
    token_url = token_url or f"{loop.url}{TOKEN_PATH}"
    client = {"client_id": "acme", "key_id": "k1", "private_key": keys()[0], "token_url": token_url}
    config = {"base_url": loop.url, **client}
    await rescind.put("accounts", LOOP, {"provider": "superloop", "config": config, **more})
    verify = {"scheme": "token", "secrets": [TOKEN]}
    await rescind.put("endpoints", HOOK, {"account": LOOP, "verify": verify})


async def order(rescind: Rescind, loop: Side) -> str:
    """An order that can be canceled, and of which Rescind has heard."""
    number = (await loop.act("create_order", silent=True))["order_id"]
    await tell(rescind, "order.created", {"id": number, "isCancellable": True})
    return str(number)


async def tell(rescind: Rescind, event: str, body: dict[str, Any]) -> None:
    reply = await rescind.hook(body, HOOK, headers={"z-event-type": f"{event}.event"})
    assert (reply.status, reply.json["status"]) == (200, "accepted"), reply


async def request_cancel(rescind: Rescind, order: str, **more: Any) -> str:
    body = {"reason": "moved", **more}
    reply = await rescind.ask("POST", f"/v1/accounts/{LOOP}/orders/{order}/cancellations", body)
    assert reply.status == 202, reply
    return str(reply.json["id"])


async def waits_for_its_place(rescind: Rescind, loop: Side) -> None:
    """The token has come, and the cancel waits for the limit."""
    await loop.arrived(1, TOKEN_PATH)

    async def look() -> bool:
        return bool((await rescind.get(f"/v1/accounts/{LOOP}"))["lane"]["state"] == "rate_limited")

    await until(look, "the cancel waiting for the limit")


async def test_one_token_serves_many_cancels(rescind: Rescind, loop: Side) -> None:
    await account(rescind, loop, limits={"concurrency": 1})
    for _ in range(3):
        done = await rescind.settled(await request_cancel(rescind, await order(rescind, loop)))
        assert done["state"] == "succeeded"
    assert len(await loop.calls(TOKEN_PATH)) == 1
    assert len(await loop.calls(CANCEL_PATH)) == 3


async def test_a_token_is_neither_stored_nor_shown(rescind: Rescind, loop: Side) -> None:
    await account(rescind, loop)
    number = await order(rescind, loop)
    await rescind.settled(await request_cancel(rescind, number))
    timeline = await rescind.timeline(number, LOOP)
    exchanges = [each for entry in timeline if entry["kind"] == "attempt" for each in entry["attempt"]["exchanges"]]
    assert [each["url"].rpartition("/")[2] for each in exchanges] == ["token", "cancel"]
    assert all("answer" not in each for each in exchanges), "what was understood is not kept"
    assert "access_token" not in str(timeline)


async def test_the_fence_is_at_the_call_that_cancels_not_at_the_one_before(rescind: Rescind, loop: Side) -> None:
    await account(rescind, loop, limits={"requests": 1, "per_s": 3600})
    number = await order(rescind, loop)
    id = await request_cancel(rescind, number)
    await waits_for_its_place(rescind, loop)
    assert (await rescind.cancellation(id))["state"] == "sending"
    await tell(rescind, "order.completed", {"id": int(number), "isCancellable": False, "status": "Completed"})
    await account(rescind, loop)
    done = await rescind.settled(id)
    assert (done["state"], done["cause"]) == ("revoked", "window_closed")
    assert done["evidence"], "it says which event closed it"
    assert await loop.calls(CANCEL_PATH) == []
    assert (await loop.book(number))["cancel_calls"] == 0


async def test_the_fence_is_asked_when_the_connection_of_the_cancel_stands(
    rescind: Rescind, loop: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected, reached, opened = aiohttp.connector.aiohappyeyeballs.start_connection, asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any, **more: Any) -> Any:
        if await loop.calls(TOKEN_PATH):
            reached.set()
            await opened.wait()
        return await connected(*arguments, **more)

    # A host of its own, so that the cancel needs a connection of its own.
    await account(rescind, loop, token_url=f"{loop.url.replace('127.0.0.1', 'localhost')}{TOKEN_PATH}")
    number = await order(rescind, loop)
    monkeypatch.setattr(aiohttp.connector.aiohappyeyeballs, "start_connection", slow)
    id = await request_cancel(rescind, number)
    await reached.wait()
    monkeypatch.undo()
    await tell(rescind, "order.completed", {"id": int(number), "isCancellable": False, "status": "Completed"})
    opened.set()
    done = await rescind.settled(id)
    assert (done["state"], done["cause"]) == ("revoked", "window_closed")
    lane = rescind.node.lanes[LOOP]
    await asyncio.gather(*lane._calling)
    assert await loop.calls(CANCEL_PATH) == []
    assert (lane.status().used, lane.status().running) == (1, 0), "the token is counted, and the cancel is not"


async def test_a_pause_holds_the_cancel_back_after_the_token(rescind: Rescind, loop: Side) -> None:
    await account(rescind, loop, limits={"requests": 1, "per_s": 3600})
    number = await order(rescind, loop)
    id = await request_cancel(rescind, number)
    await waits_for_its_place(rescind, loop)
    await rescind.ask("POST", "/v1/pause", {"account": LOOP})
    await account(rescind, loop)
    await rescind.settled(id, "scheduled")
    assert await loop.calls(CANCEL_PATH) == []
    await rescind.ask("POST", "/v1/resume", {"account": LOOP})
    assert (await rescind.settled(id))["state"] == "succeeded"
    assert len(await loop.calls(TOKEN_PATH)) == 1, "the token was kept"


async def test_a_deadline_passes_between_the_token_and_the_cancel(
    rescind: Rescind, loop: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    await account(rescind, loop, limits={"requests": 1, "per_s": 3600})
    number = await order(rescind, loop)
    soon = datetime.now(UTC) + timedelta(hours=1)
    id = await request_cancel(rescind, number, deadline=soon.isoformat())
    await waits_for_its_place(rescind, loop)
    shift(monkeypatch, timedelta(hours=1), attempt)
    await account(rescind, loop)
    done = await rescind.settled(id)
    assert done["state"] == "expired"
    assert await loop.calls(CANCEL_PATH) == []


async def test_no_limit_is_broken_by_the_calls_of_one_flow(rescind: Rescind, loop: Side) -> None:
    await account(rescind, loop, limits={"requests": 3, "per_s": 1.0, "concurrency": 4})
    made = [await request_cancel(rescind, await order(rescind, loop)) for _ in range(8)]
    for id in made:
        assert (await rescind.settled(id))["state"] == "succeeded"
    arrivals = [each["at"] for each in await loop.calls()]
    for first, fourth in zip(arrivals, arrivals[3:], strict=False):
        assert fourth - first >= 1.0, "a window holds more calls than the limit"


async def test_refused_credentials_pause_the_account_and_new_ones_lift_it(rescind: Rescind, loop: Side) -> None:
    await account(rescind, loop)
    number = await order(rescind, loop)
    wrong = {"base_url": loop.url, "access_token": "no-good-token-0123"}
    await rescind.put("accounts", LOOP, {"provider": "superloop", "config": wrong})
    id = await request_cancel(rescind, number)

    async def paused() -> bool:
        return bool((await rescind.get(f"/v1/accounts/{LOOP}"))["lane"]["state"] == "paused")

    await until(paused, "the pause")
    assert (await rescind.cancellation(id))["waiting"]["for"] == "paused"
    await account(rescind, loop)
    assert (await rescind.settled(id))["state"] == "succeeded"
