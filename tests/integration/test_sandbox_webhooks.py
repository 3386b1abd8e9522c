"""Webhooks of the sandbox: kept, delivered in order, and sent again until they are taken."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from processes import lasting_port
from sandboxes import Client, receiver, sandbox_client, set_target

from app.dev.sandbox import start_sandbox
from handlers.planomatic.simulator import PlanOmatic


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with sandbox_client() as client:
        yield client


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


async def test_a_target_that_is_not_there_is_tried_again(client: Client) -> None:
    await set_target(client, f"http://127.0.0.1:{lasting_port()}/hook")
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
